// Two training steps of a policy that is loaded as a run loads it, on rows of one length, a third of them prompt; the reference is asked before.
import { makeObjective } from '../../dist/loss/index.js'
import { AdamW } from '../../dist/train/optimizer.js'
import { sequenceLogps, withComputeWeights } from '../../dist/train/passes.js'
import { loadPolicy, loadReference } from '../../dist/train/policy.js'
import { sequencesOf, trainStep } from '../../dist/train/step.js'

/** The seconds of the second step. `loaded` is called once the policy is in memory. */
export async function twoSteps(
  source,
  { adapter, loadIn, gradientCheckpointing = false, batch, tokens, microBatchTokens = 2048, device },
  loaded = () => {},
) {
  const compute = 'bfloat16'
  const options = { adapter, loadIn, doubleQuantization: true, seed: 0, maxLength: tokens, device }
  const objective = makeObjective({ type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 })
  const rows = randomRows(source.folder.config.vocabularySize, batch, tokens)
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
  loaded()

  const optimizer = new AdamW(policy.trainable, {
    learningRate: 1e-4,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0,
    maxGradNorm: 1,
  })
  const trainer = { decoder: policy, objective, optimizer, compute, microBatchTokens, gradientCheckpointing, seed: 0 }
  let seconds = 0
  try {
    for (let step = 0; step < 2; step++) {
      const began = performance.now()
      const result = trainStep(trainer, { rows, referenceLogps, mismatched, mismatchedReferenceLogps }, 1)
      seconds = (performance.now() - began) / 1000
      if (step === 0 && result.logRatios.some((ratio) => Math.abs(ratio) > 1e-6))
        throw new Error(`log-ratios before the first update: ${result.logRatios}`)
      if (result.notFinite)
        throw new Error(`step ${step + 1}: loss ${result.loss}, norm of the gradient ${result.gradNorm}`)
    }
  } finally {
    optimizer.dispose()
    policy.dispose()
  }
  return seconds
}

function randomRows(vocabulary, batch, tokens) {
  const prompt = Math.floor(tokens / 3)
  const ids = (length, seed) => Int32Array.from({ length }, (_, i) => (seed * 7919 + i * 104729) % vocabulary)
  return Array.from({ length: batch }, (_, index) => ({
    index,
    promptGroup: index,
    completionGroup: index,
    prompt: ids(prompt, index),
    completion: ids(tokens - prompt, index + batch),
    desirable: index % 2 === 0,
    origin: { file: 'random', line: index + 1 },
  }))
}
