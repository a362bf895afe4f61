// docs/performance.md's table, from the lines that bench/kto/run.mjs appended; the newest line of each setting counts.
//   node bench/kto/table.mjs [results.jsonl]
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { median } from './summary.mjs'

const file = process.argv[2] ?? join(process.env.PROSPECT_BENCH ?? '/tmp/prospect-bench', 'kto.jsonl')
const lines = readFileSync(file, 'utf8').trim().split('\n').map(JSON.parse)
const settingOf = ({ shape, method, precision, ratio, length, spread, paired, batch, options }) =>
  [shape, method, precision, ratio, length, spread, paired, batch, options].join('|')
const newest = new Map(lines.map((line) => [settingOf(line), line]))

const columns = [
  ['model', ({ shape }) => shape],
  ['method', ({ method }) => method],
  ['precision', ({ precision }) => precision],
  ['prompt:answer', ({ ratio, paired }) => `${ratio}${paired ? ', paired' : ''}`],
  ['rows', ({ batch, length }) => `${batch} x ${length}`],
  ['Prospect, tokens/s', ({ sides }) => rate(sides.prospect)],
  ['TRL, tokens/s', (line) => rate(fastest(line)[1])],
  ['TRL setting', (line) => fastest(line)[0].replace('trl ', '')],
  ['ratio (rounds)', (line) => ratioText(line.ratios[fastest(line)[0]])],
  [
    'ratio, whole epoch',
    (line) => (line.sides.prospect.epochTokensPerSecond / mostOf(line, 'epochTokensPerSecond')).toFixed(1),
  ],
  ['first step, s', (line) => `${line.sides.prospect.firstStep.toFixed(1)} : ${leastOf(line, 'firstStep').toFixed(1)}`],
  [
    'peak memory, GiB',
    (line) => `${gibibytes(line.sides.prospect.peakBytes)} : ${gibibytes(fastest(line)[1].peakBytes)}`,
  ],
  ['share of GEMM peak', (line) => `${percent(line.sides.prospect)} : ${percent(fastest(line)[1])}`],
  ['losses apart', ({ lossDifference }) => lossDifference.toExponential(0)],
]

const trlSides = ({ sides }) => Object.entries(sides).filter(([name]) => name !== 'prospect')
const fastest = (line) => trlSides(line).reduce((a, b) => (b[1].tokensPerSecond > a[1].tokensPerSecond ? b : a))
const mostOf = (line, key) => Math.max(...trlSides(line).map(([, side]) => side[key]))
const leastOf = (line, key) => Math.min(...trlSides(line).map(([, side]) => side[key]))
const ratioText = (ratios) =>
  `**${median(ratios).toFixed(1)}** (${Math.min(...ratios).toFixed(1)} to ${Math.max(...ratios).toFixed(1)})`
const gibibytes = (bytes) => (bytes / 2 ** 30).toFixed(1)
const percent = ({ peakShare }) => `${(100 * peakShare).toFixed(0)} %`
const rate = ({ tokensPerSecond, stepSeconds, spread: [low, high] }) =>
  `${tokensPerSecond.toFixed(0)} (${((tokensPerSecond * stepSeconds) / high).toFixed(0)} to ${((tokensPerSecond * stepSeconds) / low).toFixed(0)})`

const rows = [...newest.values()].filter((line) => trlSides(line).length > 0)
const row = (cells) => `| ${cells.join(' | ')} |`
console.log(row(columns.map(([title]) => title)))
console.log(row(columns.map(() => '---')))
for (const line of rows) console.log(row(columns.map(([, of]) => of(line))))
