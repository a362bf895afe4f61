// Prospect beside TRL's KTOTrainer on the same model, rows, batches and steps, interleaved; prints a table and appends a JSON line a setting.
//   node bench/kto/run.mjs --python <python of bench/kto/make-venv.sh> --shape 135m --method full --precision bf16 --ratio 4:1
// All flags with their defaults are below. --trl takes several settings (trl_run.py, VARIANTS): the fastest counts.
import { execFile } from 'node:child_process'
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { benchFolder, jsonLines, makeExamples, modelFolder, planSteps, rowHash, rowsOf } from './inputs.mjs'
import { requiredFlops, shapes } from './shapes.mjs'
import { median, rateText, summary } from './summary.mjs'

const { values } = parseArgs({
  options: {
    python: { type: 'string', default: process.env.PROSPECT_PEERS_PYTHON },
    shape: { type: 'string', default: '135m' },
    method: { type: 'string', default: 'full' }, // full, lora
    precision: { type: 'string', default: 'bf16' }, // bf16, float32
    ratio: { type: 'string', default: '4:1' }, // tokens of prompts : of answers
    length: { type: 'string', default: '320' }, // tokens of a row at the mean
    spread: { type: 'string', default: '0.5' }, // lengths vary evenly within this share of the mean
    paired: { type: 'boolean', default: false }, // two answers to each prompt
    batch: { type: 'string', default: '8' },
    warmup: { type: 'string', default: '1' }, // steps before the clock counts
    steps: { type: 'string', default: '3' }, // counted
    rounds: { type: 'string', default: '3' },
    trl: { type: 'string', default: 'fast' },
    threads: { type: 'string', default: '2' },
    'learning-rate': { type: 'string', default: '1e-5' },
    options: { type: 'string', default: '{}' }, // more options of `train()`, as JSON
    'only-prospect': { type: 'boolean', default: false },
    results: { type: 'string', default: join(benchFolder, 'kto.jsonl') },
  },
})
if (!values.python && !values['only-prospect']) {
  console.error('--python <path> or PROSPECT_PEERS_PYTHON is needed: bench/kto/make-venv.sh makes one')
  process.exit(1)
}
/** glibc gives large blocks back at once and faults them in again; a user who tunes a server may tell it to keep them. */
const tunedMalloc = ['mmap_threshold=8589934592', 'trim_threshold=17179869184', 'hugetlb=1']
const tunables = tunedMalloc.map((tunable) => `glibc.malloc.${tunable}`).join(':')
const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const variants = values['only-prospect'] ? [] : values.trl.split(',')
const [batch, warmup, counted, rounds] = [values.batch, values.warmup, values.steps, values.rounds].map(Number)
const shape = shapes[values.shape]
const job = prepare(await modelFolder(values.shape))
const programs = {
  prospect: [process.execPath, here('prospect_run.mjs')],
  ...Object.fromEntries(variants.map((variant) => [`trl ${variant}`, [values.python, here('trl_run.py'), variant]])),
}
const runs = Object.fromEntries(Object.keys(programs).map((name) => [name, []]))
const peaks = []
for (let round = 0; round < rounds; round++) {
  peaks.push(await measurePeaks())
  for (const [name, program] of Object.entries(programs)) {
    runs[name].push(await measure(program))
    const { stepSeconds, peakBytes } = runs[name].at(-1)
    const steps = stepSeconds.map((value) => value.toFixed(2)).join(' ')
    console.error(`round ${round + 1}: ${name}: steps ${steps} s; peak ${(peakBytes / 2 ** 30).toFixed(2)} GiB`)
  }
}
report()

function prepare(model) {
  const count = batch * (warmup + counted)
  const { ratio, paired } = values
  const settings = { count, length: Number(values.length), ratio, spread: Number(values.spread), paired }
  const examples = makeExamples({ ...settings, vocabulary: shape.vocab_size })
  const steps = planSteps(examples, batch, 0)
  const rows = rowsOf(examples)
  const name = [
    values.shape,
    ratio.replace(':', 'to'),
    values.length,
    values.spread,
    paired ? 'paired' : 'unpaired',
    count,
    batch,
  ].join('-')
  const folder = join(benchFolder, 'rows', name)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'rows.jsonl'), jsonLines(rows))
  const trlRows = steps.flatMap((step) => step.trlRows.map((index) => rows[index]))
  writeFileSync(join(folder, 'trl-rows.jsonl'), jsonLines(trlRows))
  return { model, folder, examples, planned: steps }
}

async function measure([program, script, variant]) {
  const { model, folder, examples, planned } = job
  const { method, precision } = values
  const argument = {
    ...{ model, folder, method, precision, batch, variant, seed: 0, threads: Number(values.threads) },
    rows: join(folder, 'rows.jsonl'),
    trlRows: join(folder, 'trl-rows.jsonl'),
    steps: warmup + counted,
    learningRate: Number(values['learning-rate']),
    options: JSON.parse(values.options),
    started: Date.now() / 1000,
  }
  const more = variant?.endsWith('-malloc') ? { GLIBC_TUNABLES: tunables } : {}
  const result = await run(program, [script, JSON.stringify(argument)], more)
  if (result.batches) checkTokens(result.batches, examples, planned)
  return result
}

async function run(program, parameters, more = {}) {
  const environment = {
    ...process.env,
    ...more,
    TOKENIZERS_PARALLELISM: 'false',
    HF_HUB_OFFLINE: '1',
    TQDM_DISABLE: '1',
  }
  const { stdout } = await promisify(execFile)(program, parameters, { maxBuffer: 1 << 26, env: environment })
  return JSON.parse(stdout.trim().split('\n').at(-1))
}

async function measurePeaks() {
  const ours = await run(process.execPath, [here('gemm.mjs'), values.threads])
  return { prospect: ours, trl: values.python ? await run(values.python, [here('gemm.py'), values.threads]) : ours }
}

/** Both sides must have been given the same ids and masks, in the same batches; and the same mismatched pairs where the plan allows it. */
function checkTokens(batches, examples, planned) {
  for (const [step, { rows, partners, samePairs }] of planned.entries()) {
    const hash = (row, partner = row) => rowHash(examples[row].prompt, examples[partner].completion)
    const own = rows.map((row) => hash(row)).sort()
    const mismatched = rows.map((row, i) => hash(row, partners[i])).sort()
    if (own.join() !== batches[step].rows.join()) throw new Error(`step ${step}: TRL's rows are not Prospect's`)
    if (samePairs && mismatched.join() !== batches[step].mismatched.join())
      throw new Error(`step ${step}: TRL's mismatched pairs are not Prospect's`)
  }
}

function report() {
  const { examples, planned } = job
  const measured = planned.slice(warmup)
  const sum = (of) => measured.reduce((total, step) => total + of(step), 0)
  const tokens = (indices) => indices.reduce((n, i) => n + examples[i].prompt.length + examples[i].completion.length, 0)
  const usefulTokens = sum(({ rows }) => tokens(rows)) / measured.length
  const lengths = ({ rows, partners }) => {
    const of = (i, j = i) => ({ prompt: examples[i].prompt.length, completion: examples[j].completion.length })
    const own = rows.map((i) => ({ ...of(i), group: examples[i].promptGroup }))
    return [own, rows.map((i, at) => of(i, partners[at]))]
  }
  const flops = sum((step) => requiredFlops(shape, ...lengths(step), values.method)) / measured.length
  const bestPeak = (of) => Math.max(...peaks.map(of))
  const sides = Object.fromEntries(
    Object.entries(runs).map(([name, all]) => [
      name,
      {
        ...summary(all, { warmup, usefulTokens, rows: tokens(planned.flatMap(({ rows }) => rows)) }),
        gemmPeak: bestPeak((peak) => peak[name === 'prospect' ? 'prospect' : 'trl'][values.precision]),
      },
    ]),
  )
  for (const side of Object.values(sides)) side.peakShare = flops / side.stepSeconds / side.gemmPeak
  const setting = Object.fromEntries(
    ['shape', 'method', 'precision', 'ratio', 'length', 'spread', 'paired', 'batch', 'threads', 'options'].map(
      (key) => [key, values[key]],
    ),
  )
  const samePairs = planned.every((step) => step.samePairs)
  const agreement = variants.map((variant) => worstDifference(runs.prospect[0].steps, runs[`trl ${variant}`][0].steps))
  const line = {
    ...{ date: new Date().toISOString(), machine: cpus()[0].model, cores: cpus().length, ...setting },
    ...{ rounds, counted, usefulTokens, requiredTeraflops: flops / 1e12, samePairs, sides },
    ratios: ratiosByRound(),
    lossDifference: agreement.length > 0 ? Math.max(...agreement.map(({ loss }) => loss)) : null,
    logpDifference: agreement.length > 0 ? Math.max(...agreement.map(({ logps }) => logps)) : null,
  }
  mkdirSync(benchFolder, { recursive: true })
  appendFileSync(values.results, `${JSON.stringify(line)}\n`)
  print(line)
}

/** How many times as fast as each TRL setting, in each round: what else the machine did in it counts on both sides. */
function ratiosByRound() {
  const step = ({ stepSeconds }) => median(stepSeconds.slice(warmup))
  return Object.fromEntries(
    variants.map((variant) => [
      `trl ${variant}`,
      runs.prospect.map((own, round) => step(runs[`trl ${variant}`][round]) / step(own)),
    ]),
  )
}

/** Largest difference over all steps: of losses absolutely, of mean log-probabilities relatively. */
function worstDifference(ours, theirs) {
  const worst = (of) => Math.max(...ours.map((step, i) => of(step, theirs[i])))
  const relative = (a, b) => (a == null || b == null ? 0 : Math.abs(a - b) / Math.abs(b))
  return {
    loss: worst((a, b) => Math.abs(a.loss - b.loss)),
    logps: worst((a, b) => Math.max(relative(a.chosen, b.chosen), relative(a.rejected, b.rejected))),
  }
}

function print({ sides, ratios, usefulTokens, lossDifference, logpDifference, samePairs }) {
  console.log(
    `${values.shape} ${values.method} ${values.precision}, prompt:answer ${values.ratio}, ${values.paired ? 'paired' : 'unpaired'}, ` +
      `${batch} rows of ${values.length} tokens (${usefulTokens.toFixed(0)} a step), ${rounds} rounds of ${counted} steps`,
  )
  for (const [name, side] of Object.entries(sides)) console.log(`  ${name.padEnd(16)} ${rateText(side)}`)
  if (variants.length === 0) return
  const trl = variants.map((variant) => sides[`trl ${variant}`])
  const fastest = variants.reduce((a, b) =>
    sides[`trl ${b}`].tokensPerSecond > sides[`trl ${a}`].tokensPerSecond ? b : a,
  )
  const perRound = ratios[`trl ${fastest}`]
  const best = (of) => Math.max(...trl.map(of))
  const epoch = sides.prospect.epochTokensPerSecond / best((side) => side.epochTokensPerSecond)
  const processor = Math.min(...trl.map((side) => side.processorSeconds)) / sides.prospect.processorSeconds
  const memory = sides.prospect.peakBytes / Math.min(...trl.map((side) => side.peakBytes))
  console.log(
    `  prospect / TRL ${fastest}: ${median(perRound).toFixed(2)} times as fast (${Math.min(...perRound).toFixed(2)} to ${Math.max(...perRound).toFixed(2)}), ` +
      `in processor time ${processor.toFixed(2)}, over the whole epoch ${epoch.toFixed(2)}; peak memory ${memory.toFixed(2)} of TRL's least`,
  )
  console.log(
    `  same tokens: yes; same mismatched pairs: ${samePairs ? 'yes' : 'not in all batches'}; losses differ by at most ${lossDifference.toExponential(1)}, ` +
      `mean log-probabilities by ${logpDifference.toExponential(1)} relative`,
  )
}
