// How much memory reading takes: writes so many gigabytes of JSONL to a scratch folder, reads them as `prospect data` does (--rows-too: and
// notes of each row what choosing needs), prints seconds, rows and the peak of resident memory as the kernel counts it, and deletes the file.
//   node bench/data/reading.mjs [--gigabytes 10] [--rows-too]
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openFeedback } from '../../dist/data/read.js'
import { RowTableBuilder } from '../../dist/data/table.js'

const { values } = parseArgs({
  options: { gigabytes: { type: 'string', default: '10' }, 'rows-too': { type: 'boolean', default: false } },
})
const wanted = Number(values.gigabytes) * 1e9
const { bavail, bsize } = statfsSync(tmpdir())
if (bavail * bsize < wanted * 1.2) throw new Error(`${tmpdir()} has only ${(bavail * bsize) / 1e9} GB free`)
const scratch = mkdtempSync(join(tmpdir(), 'prospect-bench-reading-'))
try {
  const file = join(scratch, 'rows.jsonl')
  const written = writeRows(file)
  const began = performance.now()
  const reader = await openFeedback([file], { onBadRow: 'error', needLabels: true })
  const table = values['rows-too'] ? new RowTableBuilder() : null
  let rows = 0
  for await (const batch of reader.batches()) {
    rows += batch.length
    if (table) for (const row of batch) table.add(row)
  }
  if (rows !== written) throw new Error(`${written} rows were written, ${rows} read`)
  const seconds = (performance.now() - began) / 1000
  const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
  console.log(
    `${values.gigabytes} GB, ${rows} rows in ${seconds.toFixed(0)} s; resident memory at most ${(peak / 1e6).toFixed(0)} MB`,
  )
} finally {
  rmSync(scratch, { recursive: true })
}

/** Rows of a prompt of 400 and a completion of 600 characters, all different. Gives their number. */
function writeRows(path) {
  const out = openSync(path, 'w')
  let [rows, bytes] = [0, 0]
  while (bytes < wanted) {
    const lines = Array.from({ length: 2000 }, () => {
      const id = (rows++).toString(36)
      const text = (length) => `${id} word `.repeat(Math.ceil(length / (id.length + 6))).slice(0, length)
      return `${JSON.stringify({ prompt: text(400), completion: text(600), label: rows % 2 === 0 })}\n`
    })
    bytes += writeSync(out, lines.join(''))
  }
  closeSync(out)
  return rows
}
