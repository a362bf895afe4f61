// Every objective on the demo's world: the share of replies to unseen questions that earn a thumbs up, after alignment of one imitator with the
// same judged replies. Prints a table for docs/objectives.md. What is done is kept in the folder, so an interrupted bench goes on.
//   node bench/objectives/run.mjs [--folder /tmp/objectives] [--seeds 3] [--rows 4096] [--questions 400] [--only kto,dpo]
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { align, collectFeedback, measure, pairsOf, trainImitator } from '../../dist/demo/demo.js'
import { meanInterval, wilson } from '../../dist/evaluate/interval.js'
import { makeObjective } from '../../dist/loss/index.js'
import { objectiveNames } from '../../dist/loss/table.js'

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: '/tmp/objectives' },
    seeds: { type: 'string', default: '3' },
    rows: { type: 'string', default: '4096' },
    questions: { type: 'string', default: '400' },
    only: { type: 'string', default: ['before', ...objectiveNames].join() },
  },
})
const [seeds, rows, questions] = [values.seeds, values.rows, values.questions].map(Number)
const hooks = { progress: { start: () => ({ update() {}, stop() {} }), log() {} } }
const path = (...names) => join(values.folder, ...names)
mkdirSync(values.folder, { recursive: true })
const results = path('results.jsonl')
const done = () =>
  (existsSync(results) ? readFileSync(results, 'utf8').trim().split('\n').filter(Boolean) : []).map((line) =>
    JSON.parse(line),
  )
const keep = (result) => appendFileSync(results, `${JSON.stringify(result)}\n`)

const imitator = path('sft', 'model')
if (!existsSync(imitator)) await trainImitator(values.folder, hooks)

for (let seed = 0; seed < seeds; seed++) {
  const feedback = await judgedReplies(seed)
  for (const loss of values.only.split(',')) {
    if (done().some((one) => one.loss === loss && one.seed === seed)) continue
    const began = performance.now()
    const model = loss === 'before' ? imitator : await aligned(loss, seed, feedback)
    const { successes, total } = await measure(model, { count: questions, seed: 100 + seed }, hooks)
    const used =
      loss === 'before'
        ? 0
        : makeObjective({ type: loss }).needs.pairs
          ? 2 * pairsOf(feedback.feedback).length
          : feedback.feedback.length
    keep({ loss, seed, up: successes, total, used, seconds: Math.round((performance.now() - began) / 1000) })
    console.error(`${loss} seed ${seed}: ${successes} of ${total}`)
  }
}
printTable(done())

/** Two replies to each question, judged; kept, so that every objective learns from the same. */
async function judgedReplies(seed) {
  const file = path(`feedback-${seed}.json`)
  if (!existsSync(file))
    writeFileSync(file, JSON.stringify(await collectFeedback(imitator, { rows, each: 2, seed: 10 + 10 * seed }, hooks)))
  return JSON.parse(readFileSync(file, 'utf8'))
}

async function aligned(loss, seed, { feedback, thumbs }) {
  const data = path(`${loss}-${seed}.jsonl`)
  const used = makeObjective({ type: loss }).needs.pairs ? pairsOf(feedback) : feedback
  writeFileSync(data, used.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const output = path(`${loss}-${seed}-${Date.now()}`)
  const more = { seed, cache: path('cache') }
  return await align({ model: imitator, data, output, loss, thumbs, more }, hooks)
}

/** The interval of the replies alone: what one seed can say. */
function oneSeed({ up, total }) {
  const { share, low, high } = wilson(up, total)
  return { mean: 100 * share, low: 100 * low, high: 100 * high }
}

function printTable(all) {
  console.log(
    `| objective | learns from | rows | thumbs up, by seed | mean | 95 % interval |\n|---|---|---|---|---|---|`,
  )
  for (const loss of ['before', ...objectiveNames]) {
    const found = all.filter((one) => one.loss === loss)
    if (found.length === 0) continue
    const shares = found.map(({ up, total }) => (100 * up) / total)
    const { mean, low, high } = shares.length > 1 ? meanInterval(shares) : oneSeed(found[0])
    const kind =
      loss === 'before'
        ? '-'
        : makeObjective({ type: loss }).needs.pairs
          ? 'pairs'
          : loss === 'sft'
            ? 'thumbs-up rows'
            : 'rows'
    const name = loss === 'before' ? 'before alignment' : `\`${loss}\``
    const cells = [
      name,
      kind,
      found[0].used || '-',
      shares.map((share) => share.toFixed(1)).join(', '),
      `${mean.toFixed(1)} %`,
    ]
    const interval = `${Math.max(0, low).toFixed(1)} to ${Math.min(100, high).toFixed(1)}`
    console.log(`| ${[...cells, interval].join(' | ')} |`)
  }
}
