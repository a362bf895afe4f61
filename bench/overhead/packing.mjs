// What a step does before it computes: the plan's batch, its mismatched pairs, micro-batches and the packed streams, in milliseconds a step,
// beside the step itself where --step is given.
//   node bench/overhead/packing.mjs [--step]
import { parseArgs } from 'node:util'
import { microBatches, pack } from '../../dist/data/pack.js'
import { makePlan } from '../../dist/data/plan.js'
import { batchOf } from '../../dist/train/batches.js'
import { sequencesOf } from '../../dist/train/step.js'
import { makeExamples } from '../kto/inputs.mjs'
import { shapes } from '../kto/shapes.mjs'
import { median } from '../kto/summary.mjs'
import { makeTrainer, stepOn } from '../profile/trainer.mjs'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '135m' },
    batches: { type: 'string', default: '8x320,32x512,128x64' }, // rows x tokens
    tokens: { type: 'string', default: '2048' }, // of a micro-batch
    step: { type: 'boolean', default: false },
  },
})
const shape = shapes[values.shape]
const budget = Number(values.tokens)
const trainer = values.step ? makeTrainer(shape, { precision: 'bf16', threads: 2, microBatchTokens: budget }) : null
console.log('| rows x tokens | preparing, ms | the step, ms | share |\n|---|---|---|---|')
for (const name of values.batches.split(',')) {
  const [batchSize, length] = name.split('x').map(Number)
  const rows = { count: batchSize * 12, length, ratio: '1:1', spread: 0.5, paired: true }
  const examples = makeExamples({ ...rows, vocabulary: shape.vocab_size })
  const plan = makePlan({ examples, seed: 0, epochs: 1, batchSize, mismatched: true })
  const times = []
  for (let step = 0; step < plan.steps; step++) {
    const began = performance.now()
    const batch = batchOf(plan, step, examples, null)
    for (const sequences of [sequencesOf(batch.rows), batch.mismatched])
      microBatches(sequences, budget).map((micro) => pack(micro))
    times.push(performance.now() - began)
  }
  const preparing = median(times.slice(2))
  let whole = null
  if (trainer) {
    stepOn(trainer, plan, 0, examples)
    const began = performance.now()
    stepOn(trainer, plan, 1, examples)
    whole = performance.now() - began
  }
  const share = whole === null ? '' : `${((100 * preparing) / whole).toFixed(2)} %`
  console.log(`| ${name.replace('x', ' x ')} | ${preparing.toFixed(2)} | ${whole?.toFixed(0) ?? ''} | ${share} |`)
}
