// Prospect beside TRL's KTOTrainer on one GPU: the same rows, batches and random weights; prints a table and appends JSON lines. bench/gpu/run.sh
// calls it. Where TRL cannot be imported, Prospect is measured alone. What does not fit in the time is named.
//   node bench/gpu/bench.mjs [--python python3] [--seconds 400] [--groups 1b-full,8b-lora,...] [--device cuda:0] [--micro-batch-tokens 20480]
import { spawn, spawnSync } from 'node:child_process'
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { benchFolder, jsonLines, makeExamples, planSteps, rowsOf } from '../kto/inputs.mjs'
import { requiredFlops } from '../kto/shapes.mjs'
import { modelOf } from './models.mjs'
import { configOf, groups } from './settings.mjs'

const { values } = parseArgs({
  options: {
    python: { type: 'string', default: 'python3' },
    seconds: { type: 'string', default: '400' },
    groups: { type: 'string', default: Object.keys(groups).slice(1).join(',') },
    device: { type: 'string', default: 'cuda:0' },
    'micro-batch-tokens': { type: 'string', default: '20480' }, // a whole batch, as TRL has it
    'only-prospect': { type: 'boolean', default: false },
    results: { type: 'string', default: join(benchFolder, 'gpu.jsonl') },
  },
})
const began = performance.now()
const left = () => Number(values.seconds) - (performance.now() - began) / 1000
const here = (name) => join(import.meta.dirname, name)
mkdirSync(benchFolder, { recursive: true })

const imports = spawnSync(values.python, ['-c', 'import trl, datasets'], { encoding: 'utf8' })
const peer = !values['only-prospect'] && imports.status === 0
if (!peer) console.log(`TRL is left out: ${imports.stderr?.trim().split('\n').at(-1) || '--only-prospect'}`)
const has = (module) => spawnSync(values.python, ['-c', `import ${module}`]).status === 0
const [liger, flash] = [peer && has('liger_kernel'), peer && has('flash_attn')]

const gemm = spawnSync(process.execPath, [here('gemm.mjs'), values.device], { encoding: 'utf8' })
if (gemm.status !== 0) fail(`the products of the GPU cannot be timed: ${gemm.stderr}`)
const peak = JSON.parse(gemm.stdout).bf16
console.log(`bfloat16 products: ${(peak / 1e12).toFixed(0)} TFLOP/s`)

const lines = []
for (const name of values.groups.split(',')) {
  if (!groups[name]) fail(`--groups: ${name} is not known; known are ${Object.keys(groups).join(', ')}`)
  if (left() < 25) console.log(`left out for want of time: ${name}`)
  else await measureGroup(name, groups[name])
}
table()

async function measureGroup(name, settings) {
  const jobs = settings.map(jobOf)
  const ours = await side(
    `${name}: prospect`,
    [process.execPath, here('prospect_jobs.mjs')],
    jobs.map((job) => job.prospect),
  )
  const theirs = peer ? await trlSide(name, jobs) : new Map()
  for (const job of jobs) record(job, ours.get(job.name), theirs.get(job.name))
}

/** TRL with the whole batch on the device at once; settings that do not fit or do not run are tried with half of it. */
async function trlSide(name, jobs) {
  const results = new Map()
  for (let share = 1; share <= 8; share *= 2) {
    const open = jobs.filter((job) => !results.has(job.name) || results.get(job.name).error)
    if (open.length === 0 || left() < 25) break
    const asked = open.map((job) => ({ ...job.trl, deviceBatch: job.setting.batch / share }))
    const label = `${name}: TRL, ${asked[0].deviceBatch} rows at once`
    for (const [setting, result] of await side(label, [values.python, here('trl_jobs.py')], asked))
      results.set(setting, result)
  }
  return results
}

/** Runs one program over jobs until it ends or the time does; what it gave, by setting. */
function side(label, [program, script], jobs) {
  const file = join(benchFolder, `jobs-${process.pid}.json`)
  writeFileSync(file, JSON.stringify(jobs))
  const environment = { ...process.env, TOKENIZERS_PARALLELISM: 'false', HF_HUB_OFFLINE: '1', TQDM_DISABLE: '1' }
  return new Promise((resolve) => {
    const child = spawn(program, [script, file], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
    const results = new Map()
    let [text, errors] = ['', '']
    const timer = setTimeout(() => child.kill('SIGKILL'), 1000 * left())
    child.stderr.on('data', (chunk) => {
      errors = (errors + chunk).slice(-2000)
    })
    child.stdout.on('data', (chunk) => {
      text += chunk
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const line = text.slice(0, end)
        text = text.slice(end + 1)
        if (!line.startsWith('{"setting"')) continue
        const result = JSON.parse(line)
        results.set(result.setting, result)
        console.log(`  ${label}: ${result.setting}: ${result.error ?? `${result.ends.at(-1).toFixed(1)} s`}`)
      }
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      if (results.size < jobs.length)
        console.log(`  ${label}: ended with ${code} after ${results.size} of ${jobs.length} settings\n${errors}`)
      resolve(results)
    })
  })
}

function jobOf(setting) {
  const { shape, method, ratio, batch, length, steps, checkpointing = false } = setting
  const config = configOf(shape)
  const examples = makeExamples({
    count: batch * steps,
    length,
    ratio,
    spread: 0.5,
    paired: false,
    vocabulary: config.vocab_size,
  })
  const planned = planSteps(examples, batch, 0)
  const rows = rowsOf(examples)
  const name = `${shape} ${method} ${ratio}`
  const folder = join(benchFolder, 'gpu', name.replaceAll(/[ :]/g, '-'))
  mkdirSync(folder, { recursive: true })
  const files = { rows: join(folder, 'rows.jsonl'), trlRows: join(folder, 'trl-rows.jsonl') }
  writeFileSync(files.rows, jsonLines(rows))
  writeFileSync(files.trlRows, jsonLines(planned.flatMap(({ trlRows }) => trlRows.map((index) => rows[index]))))
  const shared = { name, folder, ...files, model: modelOf(shape, values.python), method, batch, checkpointing }
  return {
    ...{ name, setting, config, examples, planned },
    prospect: { ...shared, device: values.device, microBatchTokens: Number(values['micro-batch-tokens']) },
    trl: { ...shared, attention: flash ? 'flash_attention_2' : 'sdpa', liger, precompute: true },
  }
}

function record({ name, setting, config, examples, planned }, ours, theirs) {
  const { warmup, steps, method } = setting
  const measured = planned.slice(warmup)
  const lengthOf = (row) => examples[row].prompt.length + examples[row].completion.length
  const mean = (of) => measured.reduce((sum, step) => sum + of(step), 0) / measured.length
  const useful = mean(({ rows }) => rows.reduce((sum, row) => sum + lengthOf(row), 0))
  const of = (i, j = i) => ({ prompt: examples[i].prompt.length, completion: examples[j].completion.length })
  const flops = mean(({ rows, partners }) =>
    requiredFlops(
      config,
      rows.map((i) => ({ ...of(i), group: examples[i].promptGroup })),
      rows.map((i, at) => of(i, partners[at])),
      method,
    ),
  )
  const figures = (result) => {
    if (!result?.ends) return { error: result?.error ?? 'not run' }
    const seconds = (result.ends.at(-1) - result.ends[warmup - 1]) / (steps - warmup)
    const { peakBytes, peakReservedBytes } = result
    return {
      seconds,
      rate: useful / seconds,
      share: flops / seconds / peak,
      peakBytes,
      peakReservedBytes,
      steps: result.steps,
    }
  }
  const line = {
    date: new Date().toISOString(),
    name,
    setting,
    useful,
    flops,
    peak,
    prospect: figures(ours),
    trl: figures(theirs),
  }
  lines.push(line)
  appendFileSync(values.results, `${JSON.stringify(line)}\n`)
}

function table() {
  const gibibytes = (bytes) => (bytes ? (bytes / 2 ** 30).toFixed(1) : '?')
  const cells = ({ rate, share, peakBytes, error }) =>
    error ? [error.slice(0, 40), '', ''] : [rate.toFixed(0), `${(100 * share).toFixed(0)} %`, gibibytes(peakBytes)]
  const row = (values) => console.log(`| ${values.join(' | ')} |`)
  row([
    'model, method, prompt:answer',
    'Prospect, tokens/s',
    'of products',
    'peak GiB',
    'TRL, tokens/s',
    'of products',
    'peak GiB',
    'ratio',
    'losses apart',
  ])
  row(new Array(9).fill('---'))
  for (const { name, prospect, trl } of lines) {
    const both = !prospect.error && !trl.error
    const apart = both
      ? Math.max(...prospect.steps.map(({ loss }, i) => Math.abs(loss - (trl.steps[i]?.loss ?? Number.NaN))))
      : null
    row([
      name,
      ...cells(prospect),
      ...cells(trl),
      both ? (prospect.rate / trl.rate).toFixed(2) : '',
      apart?.toExponential(1) ?? '',
    ])
  }
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
