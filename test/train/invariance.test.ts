import { afterEach, expect, test } from 'vitest'
import type { LossOptions } from '../../src/loss/index.ts'
import { objectiveNames } from '../../src/loss/table.ts'
import { scope } from '../../src/tensor/scope.ts'
import { accumulateGradients, type Batch, type Trainer } from '../../src/train/step.ts'
import { disposeTrainer, golden, goldenRows, relativeDifference, trainerOf } from './fixtures.ts'

const { examples, mismatched } = goldenRows()
// Which rows make pairs: a desirable and an undesirable one each, of one prompt or of two (as where one of them was cut).
const pairs = [0, 0, 2, 1, 1, 2, 3, 3]
const tokenLogps = (length: number, row: number) =>
  Float32Array.from({ length }, (_, i) => -2 - ((3 * i + row) % 7) / 3)
const referenceTokens = examples.map(({ completion }, row) => tokenLogps(completion.length, row))
const mismatchedReferenceTokens = mismatched.map(({ completion }, row) => tokenLogps(completion.length, row + 5))
const sum = (values: Float32Array) => values.reduce((total, value) => total + value, 0)
const batch: Batch = {
  rows: examples.map((example, i) => ({ ...example, pair: pairs[i]!, weight: 1 + (pairs[i]! % 3) / 2 })),
  referenceLogps: Float32Array.from(referenceTokens, sum),
  mismatched,
  mismatchedReferenceLogps: Float32Array.from(mismatchedReferenceTokens, sum),
  referenceTokens,
  mismatchedReferenceTokens,
}
let trainer: Trainer

afterEach(() => disposeTrainer(trainer))

function gradients(microBatchTokens: number, rows = batch): Map<string, Float32Array> {
  trainer.microBatchTokens = microBatchTokens
  accumulateGradients(trainer, rows)
  const parameters = [...trainer.decoder.parameters, ...(trainer.critic?.head.parameters ?? [])]
  const result = new Map(parameters.map(([name, p]) => [name, scope(() => p.grad!.toArray())]))
  trainer.optimizer.clearGradients()
  trainer.critic?.clearGradients()
  return result
}

function expectSame(got: Map<string, Float32Array>, want: Map<string, Float32Array>, what: string): void {
  for (const [name, gradient] of got)
    expect(relativeDifference(gradient, want.get(name)!), `${name}, ${what}`).toBeLessThan(1e-5)
}

const variants: LossOptions[] = [
  ...objectiveNames.map((type) => ({ type, desirableWeight: 1.2, undesirableWeight: 0.8 })),
  { type: 'kto', valueFunction: 'log-sigmoid' },
  { type: 'kto', valueFunction: 'identity' },
  { type: 'kto', valueFunction: 'kahneman-tversky' },
  { type: 'kto', referencePoint: 'moving-average' },
  { type: 'kto', referencePoint: 'none' },
  { type: 'kto', referenceFree: true },
  { type: 'kto', humanline: true },
  { type: 'dpo', humanline: true },
  { type: 'ipo', humanline: true },
  { type: 'slic', humanline: true },
  { type: 'simpo', humanline: true, humanlineLow: -10 }, // it clamps log-probabilities, which a random model has low
  { type: 'ppo', humanline: true },
]
const title = ({ type, ...others }: LossOptions) => [type, ...Object.entries(others).flat()].join(' ')

// Budgets that cut the eight rows into micro-batches of one row or pair, about two, about four, and all rows.
test.each(variants.map((loss) => [title(loss), loss] as const))(
  'the gradient of %s depends neither on how the batch is cut, nor on the order of its rows, nor on sharing prompts',
  (_, loss) => {
    trainer = trainerOf(golden('kto/policy'), loss)
    const whole = gradients(8192)
    for (const budget of [1, 30, 60]) expectSame(gradients(budget), whole, `at ${budget} tokens`)
    const reversed = {
      ...batch,
      rows: batch.rows.toReversed(),
      referenceLogps: batch.referenceLogps.toReversed(),
      referenceTokens: referenceTokens.toReversed(),
      mismatched: mismatched.toReversed(),
      mismatchedReferenceLogps: batch.mismatchedReferenceLogps.toReversed(),
      mismatchedReferenceTokens: mismatchedReferenceTokens.toReversed(),
    }
    expectSame(gradients(60, reversed), whole, 'backwards')
    const apart = {
      ...batch,
      rows: batch.rows.map((example, promptGroup) => ({ ...example, promptGroup })),
      mismatched: mismatched.map((sequence, promptGroup) => ({ ...sequence, promptGroup })),
    }
    expect(new Set(examples.map(({ promptGroup }) => promptGroup)).size).toBeLessThan(examples.length)
    expectSame(gradients(8192, apart), whole, 'prompts apart')
    expect(
      Math.max(...[...whole.values()].flatMap((values) => values.map(Math.abs)).map((v) => Math.max(...v))),
    ).toBeGreaterThan(0)
  },
)
