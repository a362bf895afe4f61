// Throughput of a KTO step against one size at a time, each point in a process of its own; prints a table and appends a JSON line a point.
//   node bench/scale/run.mjs --axis length [--values 64,256,1024,4096] [--shape 135m] [--precision bf16]
// Axes: batch (rows of 320 tokens), length (tokens of a row, 8,192 tokens a step), shape, threads, micro-batch (tokens of one pass).
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { benchFolder } from '../kto/inputs.mjs'

const { values } = parseArgs({
  options: {
    axis: { type: 'string' },
    values: { type: 'string' },
    shape: { type: 'string', default: '135m' },
    precision: { type: 'string', default: 'bf16' },
    ratio: { type: 'string', default: '1:1' },
    steps: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    results: { type: 'string', default: join(benchFolder, 'scale.jsonl') },
  },
})
const stepTokens = 8192
const axes = {
  batch: { points: '2,4,8,16,32,64', of: (batch) => ({ batch }) },
  length: { points: '64,128,256,512,1024,2048,4096', of: (length) => ({ length, batch: stepTokens / length }) },
  shape: { points: '135m,360m,0.5b', of: (shape) => ({ shape }) },
  threads: { points: '1,2', of: (threads) => ({ threads }) },
  'micro-batch': {
    points: '256,512,1024,2048,4096,8192',
    of: (tokens) => ({ 'micro-batch-tokens': tokens, batch: 32 }),
  },
}
const axis = axes[values.axis]
if (!axis) {
  console.error(`--axis ${values.axis}: one of ${Object.keys(axes).join(', ')}`)
  process.exit(1)
}
const point = fileURLToPath(new URL('point.mjs', import.meta.url))
const { shape, precision, ratio, steps, threads } = values
mkdirSync(benchFolder, { recursive: true })
console.log(
  `| ${values.axis} | tokens/s | ms a row | GFLOP/s of required work | peak resident, GiB |\n|---|---|---|---|---|`,
)
for (const value of (values.values ?? axis.points).split(',')) {
  const settings = { shape, precision, ratio, steps, threads, ...axis.of(value) }
  const flags = Object.entries(settings).flatMap(([name, setting]) => [`--${name}`, String(setting)])
  const result = JSON.parse(execFileSync(process.execPath, [point, ...flags], { encoding: 'utf8' }))
  appendFileSync(values.results, `${JSON.stringify({ axis: values.axis, value, ...result })}\n`)
  const { tokensPerSecond, secondsPerRow, flopsPerSecond, peakBytes } = result
  const cells = [
    value,
    tokensPerSecond.toFixed(0),
    (secondsPerRow * 1000).toFixed(0),
    (flopsPerSecond / 1e9).toFixed(0),
    (peakBytes / 2 ** 30).toFixed(2),
  ]
  console.log(`| ${cells.join(' | ')} |`)
}
