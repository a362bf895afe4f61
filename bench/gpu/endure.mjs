// Whether a long run on a GPU stays as it is: memory over a thousand steps, all weights trained, rows of unequal length; and a run that is killed and
// resumed beside one that is not, with deterministic operators (the same bytes) and without (losses within 1e-3).
//   node bench/gpu/endure.mjs [--device cuda:0] [--shape 1b] [--steps 1000] [--python python3] [--only memory,kill]
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { benchFolder, jsonLines, makeExamples, rowsOf } from '../kto/inputs.mjs'
import { modelOf } from './models.mjs'
import { configOf } from './settings.mjs'

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    shape: { type: 'string', default: '1b' },
    steps: { type: 'string', default: '1000' },
    python: { type: 'string', default: 'python3' },
    only: { type: 'string', default: 'memory,kill' },
  },
})
const steps = Number(values.steps)
/** Steps of the run that is killed, the step after which it is, and how often it writes checkpoints. */
const killed = { steps: 16, after: 8, every: 5 }
const batch = 4
const folder = join(benchFolder, 'gpu-endure')
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const model = modelOf(values.shape, values.python)
const prospect = join(import.meta.dirname, '../../bin/prospect.js')
let failed = false
if (values.only.includes('memory')) await memoryOverSteps()
for (const deterministic of values.only.includes('kill') ? [true, false] : []) await killAndResume(deterministic)
rmSync(folder, { recursive: true, force: true })
process.exit(failed ? 1 : 0)

/** After a tenth of the steps libtorch's cache has seen the lengths there are: from then on it must not grow. */
async function memoryOverSteps() {
  const output = join(folder, 'long')
  await ended(start(output, ['--max-steps', steps, '--save-every', 10 * steps], rowsFile(steps)))
  const timing = linesOf(output, 'timing')
  const gigabytes = (bytes) => (bytes === undefined ? '' : (bytes / 1e9).toFixed(3))
  console.log(
    '| after step | in tensors, GB | reserved, GB | most reserved | resident | s a step |\n|---|---|---|---|---|---|',
  )
  const settled = Math.ceil(steps / 10)
  for (const step of new Set([1, settled, Math.ceil(steps / 4), Math.ceil(steps / 2), steps])) {
    const { memoryBytes, reservedBytes, peakReservedBytes, residentBytes, seconds } = timing[step - 1]
    const figures = [memoryBytes, reservedBytes, peakReservedBytes, residentBytes].map(gigabytes)
    console.log(`| ${[step, ...figures, seconds.toFixed(3)].join(' | ')} |`)
  }
  const [early, late] = [timing.slice(settled, 2 * settled), timing.slice(-settled)]
  for (const key of ['memoryBytes', 'reservedBytes'].filter((key) => timing[0][key] !== undefined)) {
    const [before, after] = [early, late].map((part) => Math.max(...part.map((line) => line[key])))
    verdict(
      after <= before * 1.01,
      `${key}: ${gigabytes(before)} GB at most after a tenth of the steps, ${gigabytes(after)} at the end`,
    )
  }
}

async function killAndResume(deterministic) {
  const name = deterministic ? 'deterministic' : 'free'
  const often = ['--save-every', killed.every, '--save-total-limit', 1] // at the 1B shape a checkpoint has 15 GB
  const options = ['--max-steps', killed.steps, ...often, ...(deterministic ? ['--deterministic'] : [])]
  const rows = rowsFile(killed.steps)
  const [whole, stopped] = ['whole', 'stopped'].map((kind) => join(folder, `${name}-${kind}`))
  await ended(start(whole, options, rows))
  const child = start(stopped, options, rows)
  const begun = () =>
    existsSync(join(stopped, 'checkpoints/latest')) && linesOf(stopped, 'metrics').length >= killed.after
  while (!begun() && child.exitCode === null) await setTimeout(5)
  child.kill('SIGKILL')
  const at = linesOf(stopped, 'metrics').length
  await ended(
    spawn(process.execPath, [prospect, 'train', '--resume', stopped], { stdio: ['ignore', 'ignore', 'inherit'] }),
  )
  const [a, b] = [whole, stopped].map((path) => linesOf(path, 'metrics').map(({ loss }) => loss))
  const apart = Math.max(...a.map((loss, i) => Math.abs(loss / b[i] - 1)))
  const said = `killed after step ${at} of ${killed.steps} and resumed, ${name}: losses at most ${apart.toExponential(1)} apart`
  if (at >= killed.steps) verdict(false, `${said}; it was killed too late`)
  else if (!deterministic) verdict(apart <= 1e-3, said)
  else {
    const [one, other] = await Promise.all([whole, stopped].map(hashOf))
    verdict(one === other, `${said}, ${one === other ? 'the same' : 'other'} metrics and weights, byte for byte`)
  }
  for (const path of [whole, stopped]) rmSync(path, { recursive: true, force: true })
}

function verdict(good, text) {
  failed ||= !good
  console.log(`${good ? 'as it should be' : 'NOT AS IT SHOULD BE'}: ${text}`)
}

function start(output, options, rows) {
  const fixed = ['--model', model, '--data', rows, '--output', output, '--device', values.device, '--precision', 'bf16']
  const plain = [
    '--eval-split',
    0,
    '--sample-prompts',
    0,
    '--batch-size',
    batch,
    '--lr',
    1e-6,
    '--cache',
    join(folder, 'cache'),
  ]
  const flags = [...fixed, ...plain, ...options].map(String)
  return spawn(process.execPath, [prospect, 'train', ...flags], { stdio: ['ignore', 'ignore', 'inherit'] })
}

function ended(child) {
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`prospect train ended with ${code}`))))
  })
}

/** Enough rows for so many steps; means of 128 tokens, each from half of that to one and a half. */
function rowsFile(steps) {
  const file = join(folder, `rows-${steps}.jsonl`)
  const vocabulary = configOf(values.shape).vocab_size
  const rows = { count: batch * steps, length: 128, ratio: '1:1', spread: 0.5, paired: false, vocabulary }
  if (!existsSync(file)) writeFileSync(file, jsonLines(rowsOf(makeExamples(rows))))
  return file
}

/** The whole lines of a run's log. */
function linesOf(output, log) {
  const file = join(output, `${log}.jsonl`)
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

async function hashOf(output) {
  const hash = createHash('sha256')
  const weights = readdirSync(join(output, 'model')).filter((name) => name.endsWith('.safetensors'))
  for (const file of ['metrics.jsonl', ...weights.sort().map((name) => join('model', name))])
    await pipeline(createReadStream(join(output, file)), hash, { end: false })
  return hash.digest('hex')
}
