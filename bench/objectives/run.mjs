// Every objective on the demo's world: the share of replies to unseen questions that earn a thumbs up, after alignment of one imitator with the
// same judged replies. Each objective trains at the learning rate that did best for it on a seed of its own; then come the seeds of the table. Prints a
// table for docs/objectives.md. What is done is kept in the folder, so an interrupted bench goes on.
//   node bench/objectives/run.mjs [--folder /tmp/objectives] [--seeds 3] [--rows 2048] [--questions 300] [--epochs 3] [--rates 1e-4,3e-4,1e-3] [--only kto,dpo]
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { align, collectFeedback, measure, pairsOf, trainImitator } from '../../dist/demo/demo.js'
import { meanInterval } from '../../dist/evaluate/interval.js'
import { makeObjective } from '../../dist/loss/index.js'
import { objectiveNames } from '../../dist/loss/table.js'

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: '/tmp/objectives' },
    seeds: { type: 'string', default: '3' },
    rows: { type: 'string', default: '2048' },
    questions: { type: 'string', default: '300' },
    epochs: { type: 'string', default: '3' },
    rates: { type: 'string', default: '1e-4,3e-4,1e-3' },
    only: { type: 'string', default: objectiveNames.join() },
  },
})
const [seeds, rows, questions, epochs] = [values.seeds, values.rows, values.questions, values.epochs].map(Number)
const rates = values.rates.split(',').map(Number)
/** Its judged replies and questions choose the learning rates, and are in no other seed. */
const tuningSeed = 50
const hooks = { progress: { start: () => ({ update() {}, stop() {} }), log() {} } }
const path = (...names) => join(values.folder, ...names)
mkdirSync(values.folder, { recursive: true })
const results = path('results.jsonl')
const done = () =>
  (existsSync(results) ? readFileSync(results, 'utf8').trim().split('\n').filter(Boolean) : []).map((line) =>
    JSON.parse(line),
  )

const imitator = path('sft', 'model')
if (!existsSync(imitator)) await trainImitator(values.folder, hooks)

const chosen = new Map()
for (const loss of values.only.split(',')) {
  if (rates.length > 1) for (const rate of rates) await run(loss, tuningSeed, rate)
  chosen.set(loss, rates.length > 1 ? bestRate(loss) : rates[0])
}
for (let seed = 0; seed < seeds; seed++) {
  await run('before', seed, 0)
  for (const [loss, rate] of chosen) await run(loss, seed, rate)
}
printTable(done())

/** Trains and measures, unless that was done before. */
async function run(loss, seed, rate) {
  if (done().some((one) => one.loss === loss && one.seed === seed && one.rate === rate)) return
  const began = performance.now()
  const used = loss === 'before' ? null : await rowsFor(loss, seed)
  const model = used ? await aligned(loss, seed, rate, used) : imitator
  const replies = await measure(model, { count: questions, seed: 100 + seed }, hooks)
  const up = replies.filter(Boolean).length
  const helpful = replies.map(Number).join('')
  const seconds = Math.round((performance.now() - began) / 1000)
  const result = { loss, seed, rate, up, total: replies.length, helpful, used: used?.count ?? 0, seconds }
  appendFileSync(results, `${JSON.stringify(result)}\n`)
  console.error(`${loss} seed ${seed} rate ${rate}: ${up} of ${replies.length} (${seconds} s)`)
}

function bestRate(loss) {
  const tuned = done().filter((one) => one.loss === loss && one.seed === tuningSeed && rates.includes(one.rate))
  return tuned.toSorted((a, b) => b.up - a.up || a.rate - b.rate)[0].rate
}

/** Two replies to each question, judged; kept, so that every objective learns from the same. */
async function judgedReplies(seed) {
  const file = path(`feedback-${seed}.json`)
  if (!existsSync(file))
    writeFileSync(file, JSON.stringify(await collectFeedback(imitator, { rows, each: 2, seed: 10 + 10 * seed }, hooks)))
  return JSON.parse(readFileSync(file, 'utf8'))
}

/** The feedback as the objective learns from it, and how many of its rows that are. */
async function rowsFor(loss, seed) {
  const { feedback, thumbs } = await judgedReplies(seed)
  const { pairs, labels } = makeObjective({ type: loss }).needs
  const given = pairs ? pairsOf(feedback) : feedback
  const count = pairs ? 2 * given.length : labels ? given.length : thumbs.up
  return { given, thumbs, count }
}

async function aligned(loss, seed, rate, { given, thumbs }) {
  const data = path(`${loss}-${seed}.jsonl`)
  writeFileSync(data, given.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const output = path(`${loss}-${seed}-${rate}-${Date.now()}`)
  const more = { seed, epochs, optimizer: { learningRate: rate }, cache: path('cache') }
  return await align({ model: imitator, data, output, loss, thumbs, more }, hooks)
}

function printTable(all) {
  const of = (loss) =>
    all.filter((one) => one.loss === loss && one.seed < seeds && one.rate === (chosen.get(loss) ?? 0))
  const shares = (loss) => of(loss).map(({ up, total }) => (100 * up) / total)
  const interval = (values) => {
    const { mean, low, high } = meanInterval(values)
    return `${mean.toFixed(1)} | ${low.toFixed(1)} to ${high.toFixed(1)}`
  }
  console.log(
    '| Objective | learns from | rows used | learning rate | thumbs up by seed, % | mean | 95 % interval | less than `kto` | 95 % interval |',
  )
  console.log('|---|---|---|---|---|---|---|---|---|')
  for (const loss of ['before', ...chosen.keys()]) {
    const found = of(loss)
    const { pairs, labels } = makeObjective({ type: loss === 'before' ? 'kto' : loss }).needs
    const kind = loss === 'before' ? '-' : pairs ? 'pairs' : labels ? 'rows' : 'thumbs-up rows'
    const kto = shares('kto')
    const behind =
      loss === 'kto' || kto.length !== found.length ? '- | -' : interval(shares(loss).map((share, i) => kto[i] - share))
    const name = loss === 'before' ? 'before alignment' : `\`${loss}\``
    const bySeed = shares(loss)
      .map((share) => share.toFixed(1))
      .join(', ')
    console.log(
      `| ${[name, kind, found[0].used || '-', chosen.get(loss) ?? '-', bySeed, interval(shares(loss)), behind].join(' | ')} |`,
    )
  }
}
