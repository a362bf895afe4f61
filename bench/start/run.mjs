// From the start of the process: `prospect --help`, and `prospect train` on a model in the page cache to its first step's metrics, with the
// reference's log-probabilities cached and not; medians of a few rounds. The first step itself, of one short row and its partner, counts too.
//   node bench/start/run.mjs [--shape 135m] [--rounds 5]
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { benchFolder, jsonLines, makeExamples, modelFolder, rowsOf } from '../kto/inputs.mjs'
import { shapes } from '../kto/shapes.mjs'
import { median } from '../kto/summary.mjs'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '135m' },
    model: { type: 'string' }, // a folder of one's own instead
    rounds: { type: 'string', default: '5' },
    rows: { type: 'string', default: '64' },
  },
})
const prospect = fileURLToPath(new URL('../../bin/prospect.js', import.meta.url))
const folder = join(benchFolder, 'start')
const output = join(folder, 'run')
const cache = join(folder, 'cache')
const model = values.model ?? (await modelFolder(values.shape))
const vocabulary = shapes[values.shape].vocab_size
const settings = { count: Number(values.rows), length: 64, ratio: '1:1', spread: 0.5, paired: false, vocabulary }
mkdirSync(folder, { recursive: true })
writeFileSync(join(folder, 'rows.jsonl'), jsonLines(rowsOf(makeExamples(settings))))
const train = ['train', '--model', model, '--data', join(folder, 'rows.jsonl'), '--output', output, '--cache', cache]
const short = ['--batch-size', '2', '--max-steps', '2', '--eval-split', '0', '--sample-prompts', '0']

for (let round = 0; round < 2; round++) await untilEnd(['--help']) // files come into the page cache
const help = await repeat(() => untilEnd(['--help']))
const cold = await repeat(async () => {
  rmSync(join(cache, 'reference'), { recursive: true, force: true })
  return untilFirstStep()
})
const warm = await repeat(untilFirstStep)
const show = (name, seconds) =>
  console.log(`${name}: ${median(seconds).toFixed(3)} s (${seconds.map((value) => value.toFixed(3)).join(', ')})`)
show('prospect --help', help)
show('prospect train to the first metrics, no reference cached', cold)
show('prospect train to the first metrics, reference cached', warm)

async function repeat(measure) {
  const seconds = []
  for (let round = 0; round < Number(values.rounds); round++) seconds.push(await measure())
  return seconds
}

function untilEnd(parameters) {
  const began = performance.now()
  const child = spawn(process.execPath, [prospect, ...parameters], { stdio: 'ignore' })
  return new Promise((resolve) => child.on('close', () => resolve((performance.now() - began) / 1000)))
}

async function untilFirstStep() {
  rmSync(output, { recursive: true, force: true })
  const began = performance.now()
  const child = spawn(process.execPath, [prospect, ...train, ...short, '--quiet'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let errors = ''
  child.stderr.on('data', (chunk) => {
    errors += chunk
  })
  const ended = new Promise((resolve) => child.on('close', resolve))
  const metrics = join(output, 'metrics.jsonl')
  while (!existsSync(metrics) || !readFileSync(metrics, 'utf8').includes('\n')) {
    if (child.exitCode !== null) throw new Error(`prospect train ended with ${child.exitCode}: ${errors}`)
    await setTimeout(5)
  }
  const seconds = (performance.now() - began) / 1000
  child.kill('SIGKILL')
  await ended
  return seconds
}
