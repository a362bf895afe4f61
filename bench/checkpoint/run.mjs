// What a checkpoint costs a run: the time between two steps with and without one in between, full fine-tuning, and the most memory resident.
//   node bench/checkpoint/run.mjs [--shape 135m] [--batch 8] [--length 128] [--dist <dist folder of another version>]
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { benchFolder, jsonLines, makeExamples, modelFolder, rowsOf } from '../kto/inputs.mjs'
import { shapes } from '../kto/shapes.mjs'
import { median } from '../kto/summary.mjs'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '135m' },
    batch: { type: 'string', default: '8' },
    length: { type: 'string', default: '128' },
    steps: { type: 'string', default: '16' },
    every: { type: 'string', default: '3' },
    dist: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) },
  },
})
const { train } = await import(join(resolve(values.dist), 'index.js'))
const [batchSize, length, steps, every] = [values.batch, values.length, values.steps, values.every].map(Number)
const folder = join(benchFolder, 'checkpoint')
const output = join(folder, 'run')
rmSync(output, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const vocabulary = shapes[values.shape].vocab_size
const rows = makeExamples({ count: batchSize * 4, length, ratio: '1:1', spread: 0, paired: false, vocabulary })
writeFileSync(join(folder, 'rows.jsonl'), jsonLines(rowsOf(rows)))
const run = await train({
  model: await modelFolder(values.shape),
  data: join(folder, 'rows.jsonl'),
  output,
  cache: join(folder, 'cache'),
  batchSize,
  maxSteps: steps,
  evaluation: { split: 0 },
  samples: { prompts: 0 },
  checkpoint: { every, keep: 1 },
})
const ends = []
for await (const _ of run) ends.push(performance.now())
await run.finished
const gaps = { with: [], without: [] }
// From the end of step i to the end of step i + 1; the first steps warm up.
for (let step = 2; step < steps; step++)
  gaps[step % every === 0 ? 'with' : 'without'].push((ends[step] - ends[step - 1]) / 1000)
const checkpoint = join(
  output,
  'checkpoints',
  readdirSync(join(output, 'checkpoints')).find((name) => name.startsWith('step-')),
)
const bytes = readdirSync(checkpoint).reduce((sum, name) => sum + statSync(join(checkpoint, name)).size, 0)
const [withOne, without] = [median(gaps.with), median(gaps.without)]
const list = (seconds) => seconds.map((value) => value.toFixed(2)).join(', ')
console.log(`a checkpoint has ${(bytes / 1e9).toFixed(2)} GB`)
console.log(`a step: ${without.toFixed(2)} s (${list(gaps.without)})`)
console.log(`a step after a checkpoint was begun: ${withOne.toFixed(2)} s (${list(gaps.with)})`)
console.log(
  `a checkpoint costs ${(withOne - without).toFixed(2)} s; peak resident ${(process.resourceUsage().maxRSS / 1e6).toFixed(2)} GB`,
)
rmSync(output, { recursive: true, force: true })
