// One point of bench/scale/run.mjs: KTO steps on fresh weights; prints one JSON line. Flags are below.
import { parseArgs } from 'node:util'
import { makePlan } from '../../dist/data/plan.js'
import { makeExamples } from '../kto/inputs.mjs'
import { requiredFlops, shapes } from '../kto/shapes.mjs'
import { median } from '../kto/summary.mjs'
import { makeTrainer, stepOn } from '../profile/trainer.mjs'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '135m' },
    precision: { type: 'string', default: 'bf16' },
    ratio: { type: 'string', default: '1:1' },
    length: { type: 'string', default: '320' },
    batch: { type: 'string', default: '8' },
    steps: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    'micro-batch-tokens': { type: 'string', default: '2048' },
    spread: { type: 'string', default: '0' },
    paired: { type: 'boolean', default: false }, // two answers to each prompt
    'own-prompts': { type: 'boolean', default: false }, // a prompt is computed for each of its rows
    'own-gradients': { type: 'boolean', default: false }, // copies in the compute type get gradients, rounded to it, which autograd casts and adds
    'keep-copies': { type: 'boolean', default: false }, // copies in the compute type stay to the end of the step
    checkpointing: { type: 'boolean', default: false },
  },
})
const [length, batch, steps, threads] = [values.length, values.batch, values.steps, values.threads].map(Number)
const shape = shapes[values.shape]
const trainer = makeTrainer(shape, {
  ...{ precision: values.precision, threads, microBatchTokens: Number(values['micro-batch-tokens']) },
})
trainer.gradientCheckpointing = values.checkpointing
if (values['own-gradients']) giveCopiesGradients(trainer.decoder)
if (values['keep-copies']) trainer.decoder.disposeWeights = () => {}
const { ratio, paired } = values
const rows = { count: batch * (steps + 1), length, ratio, spread: Number(values.spread), paired }
const made = makeExamples({ ...rows, vocabulary: shape.vocab_size })
const examples = values['own-prompts'] ? made.map((example, promptGroup) => ({ ...example, promptGroup })) : made
const plan = makePlan({ examples, seed: 0, epochs: 1, batchSize: batch, mismatched: true })
const seconds = []
for (let step = 0; step <= steps; step++) {
  const began = performance.now()
  stepOn(trainer, plan, step, examples)
  seconds.push((performance.now() - began) / 1000)
}
const stepSeconds = median(seconds.slice(1))
const sizes = examples.slice(0, batch).map((example) => ({
  ...{ prompt: example.prompt.length, completion: example.completion.length, group: example.promptGroup },
}))
console.log(
  JSON.stringify({
    ...{ ...values, length, batch, stepSeconds, seconds },
    tokensPerSecond: (batch * length) / stepSeconds,
    secondsPerRow: stepSeconds / batch,
    flopsPerSecond: requiredFlops(shape, sizes, sizes, 'full') / stepSeconds,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  }),
)

function giveCopiesGradients(decoder) {
  const computeWeights = decoder.computeWeights.bind(decoder)
  decoder.computeWeights = (compute) => {
    const weights = computeWeights(compute)
    for (const [name, master] of weights.masters) {
      weights.get(name).dispose()
      weights.set(name, master.to(compute))
    }
    weights.masters.clear()
    return weights
  }
}
