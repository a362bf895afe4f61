import { afterEach, expect, test } from 'vitest'
import { scope } from '../../src/tensor/scope.ts'
import { accumulateGradients, type Batch, type Trainer } from '../../src/train/step.ts'
import { disposeTrainer, golden, goldenRows, relativeDifference, trainerOf } from './fixtures.ts'

const { examples, mismatched } = goldenRows()
const batch: Batch = {
  rows: examples,
  referenceLogps: Float32Array.from(examples, (_, row) => -40 - row),
  mismatched,
  mismatchedReferenceLogps: Float32Array.from(mismatched, (_, row) => -50 - row),
}
let trainer: Trainer

afterEach(() => disposeTrainer(trainer))

function gradients(microBatchTokens: number, rows = batch): Map<string, Float32Array> {
  trainer.microBatchTokens = microBatchTokens
  accumulateGradients(trainer, rows)
  const result = new Map([...trainer.decoder.parameters].map(([name, p]) => [name, scope(() => p.grad!.toArray())]))
  trainer.optimizer.clearGradients()
  return result
}

// Budgets that cut the eight rows into micro-batches of one, about two, about four, and all rows.
test.each(['kto', 'sft'] as const)('the gradient of %s does not depend on how the batch is cut', (type) => {
  trainer = trainerOf(golden('kto/policy'), { type, beta: 0.1, desirableWeight: 1.2, undesirableWeight: 0.8 })
  const whole = gradients(8192)
  for (const budget of [1, 30, 60]) {
    for (const [name, gradient] of gradients(budget)) {
      expect(relativeDifference(gradient, whole.get(name)!), `${name} at ${budget} tokens`).toBeLessThan(1e-5)
    }
  }
})

test('the gradient does not depend on sharing prompts', () => {
  trainer = trainerOf(golden('kto/policy'), { type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 })
  const shared = gradients(8192)
  const apart = {
    ...batch,
    rows: examples.map((example, promptGroup) => ({ ...example, promptGroup })),
    mismatched: mismatched.map((sequence, promptGroup) => ({ ...sequence, promptGroup })),
  }
  expect(new Set(examples.map(({ promptGroup }) => promptGroup)).size).toBeLessThan(examples.length)
  for (const [name, gradient] of gradients(8192, apart)) {
    expect(relativeDifference(gradient, shared.get(name)!), name).toBeLessThan(1e-5)
  }
})
