// What one rank does with data: opens it from the cache, makes the plan, and takes its share of each step from the given one on; RANK and WORLD_SIZE say which
// process this is. Prints, as JSON, what it took, and which rows' tokens it looked at.
//   RANK=0 WORLD_SIZE=2 node rank-process.mjs <dist folder> <tokenizer folder> <data file> <cache> <first step> <steps>
import { createHash } from 'node:crypto'
import { join } from 'node:path'

const [dist, folder, file, cache, first, count] = process.argv.slice(2)
const [rank, ranks] = [Number(process.env.RANK), Number(process.env.WORLD_SIZE)]
const { openDataset } = await import(join(dist, 'data/dataset.js'))
const { makePlan } = await import(join(dist, 'data/plan.js'))
const { shareOfRank } = await import(join(dist, 'data/ranks.js'))
const { TokenStore } = await import(join(dist, 'data/store.js'))
const { loadTokenizer } = await import(join(dist, 'data/tokenizer.js'))

const looked = { prompt: new Set(), completion: new Set() }
for (const part of ['prompt', 'completion']) {
  const read = TokenStore.prototype[part]
  TokenStore.prototype[part] = function (row) {
    looked[part].add(row)
    return read.call(this, row)
  }
}

const { store, cached } = await openDataset(
  {
    sources: [file],
    read: { onBadRow: 'error', needLabels: true },
    tokenize: { maxLength: 4096, maxPromptLength: 2048, strict: false, onBadRow: 'error' },
    cache,
  },
  loadTokenizer(folder),
)
const examples = Array.from({ length: store.length }, (_, row) => store.example(row, row))
const plan = makePlan({ examples, seed: 3, epochs: 2, batchSize: 16, mismatched: true })
const hashOf = (ids) => createHash('sha256').update(ids).digest('hex')
const steps = Array.from({ length: Math.min(Number(count), plan.steps - Number(first)) }, (_, i) => {
  const share = shareOfRank(plan.batch(Number(first) + i), rank, ranks)
  const tokens = share.rows.map((row) => [hashOf(examples[row].prompt), hashOf(examples[row].completion)])
  const partners = share.partners.map((row) => row !== null && hashOf(examples[row].completion))
  return { share, tokens, partners }
})
const rows = Object.fromEntries(Object.entries(looked).map(([part, set]) => [part, [...set].sort((a, b) => a - b)]))
console.log(JSON.stringify({ cached, planned: plan.steps, steps, looked: rows }))
