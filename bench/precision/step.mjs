// One precision's half of bench/precision/run.mjs: trains a random 135M-shaped Llama for some steps and prints one JSON line.
// node bench/precision/step.mjs float32|bfloat16 kto|sft <steps>
import { makePlan } from '../../dist/data/plan.js'
import { makeObjective } from '../../dist/loss/index.js'
import { parseModelConfig } from '../../dist/model/architectures/read.js'
import { Decoder } from '../../dist/model/decoder.js'
import { initialParameters } from '../../dist/model/parameters.js'
import { inspectEngine, memoryUse } from '../../dist/tensor/engine.js'
import { batchOf } from '../../dist/train/batches.js'
import { AdamW } from '../../dist/train/optimizer.js'
import { trainStep } from '../../dist/train/step.js'

const [compute, loss, steps] = [process.argv[2], process.argv[3], Number(process.argv[4])]
const vocabulary = 49152
const shape = {
  model_type: 'llama',
  hidden_size: 576,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  intermediate_size: 1536,
  vocab_size: vocabulary,
  tie_word_embeddings: true,
}

/** Text with something to learn: a token is mostly followed by a fixed other one. */
function tokens(count, seed) {
  let state = seed
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  const ids = new Int32Array(count)
  let token = Math.floor(random() * 500)
  for (let i = 0; i < count; i++) {
    ids[i] = token
    token = random() < 0.8 ? (token * 7 + 3) % 500 : Math.floor(random() * 500)
  }
  return ids
}

const batchSize = 4
const examples = Array.from({ length: batchSize * 16 }, (_, index) => ({
  index,
  promptGroup: index,
  completionGroup: index,
  prompt: tokens(128, 2 * index + 1),
  completion: tokens(128, 2 * index + 2),
  desirable: index % 2 === 0,
  origin: { file: 'random', line: index + 1 },
}))
const objective = makeObjective({ type: loss, beta: 0.1, desirableWeight: 1, undesirableWeight: 1 })
inspectEngine()
const config = parseModelConfig(shape, 'random')
const decoder = new Decoder(config, initialParameters(config, 0))
for (const parameter of decoder.parameters.values()) parameter.withGrad()
const optimizer = new AdamW(decoder.parameters, {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
})
const trainer = { decoder, objective, optimizer, compute, microBatchTokens: 2048 }
const plan = makePlan({
  examples,
  seed: 0,
  epochs: steps,
  batchSize,
  maxSteps: steps,
  mismatched: objective.needs.mismatched,
})
// Untrained, a token costs ln(vocabulary): close enough for a reference whose own pass is not what is measured.
const untrained = (row) => -Math.log(vocabulary) * examples[row].completion.length
const reference = objective.needs.reference && {
  rows: Float32Array.from(examples, (_, row) => untrained(row)),
  mismatched: { get: () => untrained(0) },
}
const losses = []
const rates = []
for (let step = 0; step < steps; step++) {
  const began = performance.now()
  const result = trainStep(trainer, batchOf(plan, step, examples, reference || null), Math.min(1, (step + 1) / 5))
  losses.push(result.loss)
  rates.push((result.tokens / (performance.now() - began)) * 1000)
}
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
console.log(
  JSON.stringify({
    compute,
    loss,
    tokensPerSecond: median(rates.slice(1)),
    finalLoss: mean(losses.slice(-5)),
    peakBytes: memoryUse().peak,
    losses,
  }),
)
