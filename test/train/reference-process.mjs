// A process that computes what a reference says of some rows, for tests that kill it: folder of the model, folder of the cache, milliseconds that each step waits.
// Prints a line when the pass begins (rows known already), one a step, and a digest of the answers.
import { createHash } from 'node:crypto'
import { makePlan } from '../../dist/data/plan.js'
import { loadDecoder } from '../../dist/model/load.js'
import { referenceLogps } from '../../dist/train/reference.js'

const [model, cache, wait] = process.argv.slice(2)
const examples = Array.from({ length: 48 }, (_, index) => ({
  index,
  promptGroup: index % 12,
  completionGroup: index,
  prompt: Int32Array.of(1, 2, index % 12),
  completion: Int32Array.from({ length: 1 + (index % 5) }, (_, i) => 5 + index + i),
  desirable: index % 2 === 0,
  origin: { file: 'test', line: index + 1 },
}))
const plan = makePlan({ examples, seed: 1, epochs: 2, batchSize: 4, mismatched: true })
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const progress = {
  log() {},
  start(total, _label, known = 0) {
    say({ total, known })
    return {
      update(done) {
        say({ done })
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(wait))
      },
      stop() {},
    }
  },
}
const job = { examples, plan, compute: 'float32', microBatchTokens: 64, tokens: true }
const { rows, mismatched, tokens } = await referenceLogps(job, 'w', () => loadDecoder(model, 'float32'), {
  cache,
  progress,
  keepEveryMs: 0,
})
const hash = createHash('sha256').update(rows)
for (const [key, value] of mismatched) hash.update(Float64Array.of(key, value))
for (const values of [...tokens.rows, ...tokens.mismatched.values()]) hash.update(values)
say({ digest: hash.digest('hex') })
