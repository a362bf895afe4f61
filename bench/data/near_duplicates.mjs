// How long it takes to find near duplicates: signatures of so many texts of about 300 tokens, and the search among them; processor time and the peak of resident
// memory, and how many of the duplicates that were planted (texts in which twelve words in a row of 230 are others) were found.
//   node bench/data/near_duplicates.mjs [--rows 100000]
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { nearDuplicates, signatureBytes, signatureOf } from '../../dist/data/near.js'

const { values } = parseArgs({ options: { rows: { type: 'string', default: '100000' } } })
const rows = Number(values.rows)
const words = 230 // about 300 tokens
const copies = Math.floor(rows / 10)

let state = 1
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state / 2 ** 32
}
const text = (seed) => {
  state = seed + 1
  return Array.from({ length: words }, () => `w${Math.floor(random() * 20_000)}`)
}
/** The text of a row: the last tenth are texts of the first tenth with twelve words in a row replaced. */
const textOf = (row) => {
  if (row < rows - copies) return text(row).join(' ')
  const changed = text(row - (rows - copies))
  const at = row % (words - 12)
  for (let i = at; i < at + 12; i++) changed[i] = `new${row}${i}`
  return changed.join(' ')
}

const signatures = new Uint8Array(rows * signatureBytes)
const clock = { seconds: 0, cpu: 0 }
for (let from = 0; from < rows; from += 1000) {
  const texts = Array.from({ length: Math.min(1000, rows - from) }, (_, i) => textOf(from + i)) // not timed: they are the input
  timed(() => {
    for (const [i, written] of texts.entries()) signatures.set(signatureOf(written), (from + i) * signatureBytes)
  })
}
const signing = { ...clock }
const first = timed(() => nearDuplicates(signatures, 0.8))
let [found, wrong] = [0, 0]
for (let row = 0; row < rows; row++) {
  const right = row < rows - copies ? row : row - (rows - copies)
  if (first[row] === right) found += Number(row >= rows - copies)
  else if (first[row] !== row) wrong++
}
const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
console.log(
  `${rows} texts of ${words} words: signatures ${signing.seconds.toFixed(1)} s, search ${(clock.seconds - signing.seconds).toFixed(1)} s, together ${clock.cpu.toFixed(1)} s of ` +
    `processor time; of ${copies} near duplicates (5 % of words changed) ${found} were found at --near-duplicates 0.8, and ${wrong} texts taken for one that are none; at most ${(peak / 1e6).toFixed(0)} MB`,
)

function timed(work) {
  const [began, before] = [performance.now(), process.cpuUsage()]
  const result = work()
  const { user, system } = process.cpuUsage(before)
  clock.seconds += (performance.now() - began) / 1000
  clock.cpu += (user + system) / 1e6
  return result
}
