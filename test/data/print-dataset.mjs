// What a rank does with data: opens it, from the cache or into it, and makes the plan. Prints a hash of all that a run takes from both.
//   node print-dataset.mjs <dist folder> <tokenizer folder> <data file> <cache>
import { createHash } from 'node:crypto'
import { join } from 'node:path'

const [dist, folder, file, cache] = process.argv.slice(2)
const { openDataset } = await import(join(dist, 'data/dataset.js'))
const { makePlan } = await import(join(dist, 'data/plan.js'))
const { loadTokenizer } = await import(join(dist, 'data/tokenizer.js'))
const tokenizer = loadTokenizer(folder)
const { store, facts } = await openDataset(
  {
    sources: [file],
    read: { onBadRow: 'error', needLabels: true },
    tokenize: { maxLength: 60, maxPromptLength: 10, strict: false, onBadRow: 'error' },
    cache,
  },
  tokenizer,
)
const examples = Array.from({ length: store.length }, (_, row) => store.example(row, row))
const hash = createHash('sha256').update(JSON.stringify(facts.tokenizing))
for (const { prompt, completion, desirable } of examples)
  hash.update(prompt).update(completion).update(String(desirable))
const plan = makePlan({ examples, seed: 3, epochs: 2, batchSize: 32, mismatched: true })
for (const step of [0, 1, plan.steps - 1]) hash.update(JSON.stringify(plan.batch(step)))
console.log(hash.digest('hex'))
