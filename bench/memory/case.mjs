// One case of bench/memory: loads the policy as a run does, asks the reference, trains two steps, and prints the seconds of the second.
import { join } from 'node:path'
import { makeObjective } from '../../dist/loss/index.js'
import { openModel } from '../../dist/model/open.js'
import { setThreads } from '../../dist/tensor/engine.js'
import { AdamW } from '../../dist/train/optimizer.js'
import { sequenceLogps, withComputeWeights } from '../../dist/train/passes.js'
import { loadPolicy, loadReference } from '../../dist/train/policy.js'
import { sequencesOf, trainStep } from '../../dist/train/step.js'
import { cases } from './cases.mjs'

const [name, folder] = process.argv.slice(2)
const { model, adapter, loadIn, gradientCheckpointing = false, batch, tokens, microBatchTokens = 2048 } = cases[name]
setThreads(null)
const compute = 'bfloat16'
const source = openModel(join(folder, model))
const options = { adapter, loadIn, doubleQuantization: true, model, seed: 0, maxLength: tokens }
const loss = makeObjective({ type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 })

const vocabulary = source.folder.config.vocabularySize
const prompt = Math.floor(tokens / 3)
const ids = (length, seed) => Int32Array.from({ length }, (_, i) => (seed * 7919 + i * 104729) % vocabulary)
const rows = Array.from({ length: batch }, (_, index) => ({
  index,
  promptGroup: index,
  completionGroup: index,
  prompt: ids(prompt, index),
  completion: ids(tokens - prompt, index + batch),
  desirable: index % 2 === 0,
  origin: { file: 'random', line: index + 1 },
}))
const mismatched = rows.map(({ prompt, promptGroup }, row) => ({
  prompt,
  promptGroup,
  completion: rows[(row + 1) % batch].completion,
  row,
}))

const isAdapter = adapter.type !== undefined
let policy = isAdapter ? loadPolicy(options, source, compute) : null
const reference = policy ? policy.withAdapter(null) : loadReference(options, source, compute)
const [referenceLogps, mismatchedReferenceLogps] = await withComputeWeights(reference, compute, async (weights) =>
  [sequencesOf(rows), mismatched].map((sequences) => sequenceLogps(reference, weights, sequences, microBatchTokens)),
)
reference.dispose()
policy ??= loadPolicy(options, source, compute)

const optimizer = new AdamW(policy.trainable, {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
})
const trainer = {
  decoder: policy,
  objective: loss,
  optimizer,
  compute,
  microBatchTokens,
  gradientCheckpointing,
  seed: 0,
}
let seconds = 0
for (let step = 0; step < 2; step++) {
  const began = performance.now()
  const result = trainStep(trainer, { rows, referenceLogps, mismatched, mismatchedReferenceLogps }, 1)
  seconds = (performance.now() - began) / 1000
  if (step === 0 && result.logRatios.some((ratio) => Math.abs(ratio) > 1e-6))
    throw new Error(`log-ratios before the first update: ${result.logRatios}`)
}
console.log(seconds.toFixed(1))
