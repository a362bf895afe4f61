// What a checkpoint costs a run of full fine-tuning: how much longer the steps after it take than those before, and the most memory resident.
//   node bench/checkpoint/run.mjs [--shape 135m] [--batch 8] [--length 320] [--dist <dist folder of another version>]
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
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
    length: { type: 'string', default: '320' },
    steps: { type: 'string', default: '11' },
    every: { type: 'string', default: '6' }, // far enough apart that the disk is done,
    dist: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) },
  },
})
const { train } = await import(join(resolve(values.dist), 'index.js'))
const [batchSize, length, steps, every] = [values.batch, values.length, values.steps, values.every].map(Number)
const folder = join(benchFolder, 'checkpoint')
mkdirSync(folder, { recursive: true })
const vocabulary = shapes[values.shape].vocab_size
const rows = makeExamples({ count: batchSize * steps, length, ratio: '1:1', spread: 0, paired: false, vocabulary })
writeFileSync(join(folder, 'rows.jsonl'), jsonLines(rowsOf(rows)))
const model = await modelFolder(values.shape)
const { gaps, bytes, peak } = await timed()
const before = gaps.slice(0, every - 2) // from the end of step 2 to the end of step `every`
const after = gaps.slice(every - 2)
const shown = (seconds) => seconds.map((value) => value.toFixed(2)).join(', ')
const cost = after.reduce((sum, gap) => sum + gap - median(before), 0)
console.log(
  `steps before the checkpoint of ${(bytes / 1e9).toFixed(2)} GB: ${shown(before)} s; after it was due: ${shown(after)} s`,
)
console.log(`it costs ${cost.toFixed(2)} s; peak resident ${peak.toFixed(2)} GB`)

/** Seconds from the end of a step to the end of the next, from the second step on; most memory resident, and a checkpoint's size. */
async function timed() {
  const output = join(folder, 'run')
  rmSync(output, { recursive: true, force: true })
  const run = await train({
    model,
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
  const peak = process.resourceUsage().maxRSS / 1e6
  const checkpoints = join(output, 'checkpoints')
  const newest = existsSync(checkpoints)
    ? readdirSync(checkpoints).find((entry) => entry.startsWith('step-'))
    : undefined
  const files = newest ? readdirSync(join(checkpoints, newest)) : []
  const bytes = files.reduce((total, file) => total + statSync(join(checkpoints, newest, file)).size, 0)
  rmSync(output, { recursive: true, force: true })
  return { gaps: ends.slice(2).map((end, i) => (end - ends[i + 1]) / 1000), peak, bytes }
}
