import { afterEach, expect, test } from 'vitest'
import { makePlan } from '../../src/data/plan.ts'
import type { Sequence } from '../../src/data/types.ts'
import type { LossOptions } from '../../src/loss/index.ts'
import type { Objective } from '../../src/loss/objective.ts'
import { objectiveNames } from '../../src/loss/table.ts'
import { scope } from '../../src/tensor/scope.ts'
import { mismatchedSequences, pairsOf } from '../../src/train/batches.ts'
import { accumulateGradients, type Batch, type Trainer } from '../../src/train/step.ts'
import { disposeTrainer, golden, goldenRows, relativeDifference, trainerOf } from './fixtures.ts'

const { examples, mismatched } = goldenRows()
// Which rows make pairs: a desirable and an undesirable one each, of one prompt or of two (as where one of them was cut).
const pairs = [0, 0, 2, 1, 1, 2, 3, 3]
const tokenLogps = (length: number, row: number) =>
  Float32Array.from({ length }, (_, i) => -2 - ((3 * i + row) % 7) / 3)
const referenceTokens = examples.map(({ completion }, row) => tokenLogps(completion.length, row))
const sum = (values: Float32Array) => values.reduce((total, value) => total + value, 0)
/** All rows as one batch, with these mismatched completions, which the reference finds less likely than the policy does, so that z0 is above 0. */
function batchWith(mismatched: readonly Sequence[]): Batch {
  const tokens = mismatched.map(({ completion }, row) =>
    tokenLogps(completion.length, row + 5).map((value) => value - 3),
  )
  return {
    rows: examples.map((example, i) => ({ ...example, pair: pairs[i]!, weight: 1 + (pairs[i]! % 3) / 2 })),
    referenceLogps: Float32Array.from(referenceTokens, sum),
    mismatched,
    mismatchedReferenceLogps: Float32Array.from(tokens, sum),
    referenceTokens,
    mismatchedReferenceTokens: tokens,
  }
}

/** The mismatched completions that the objective asks for: one a row, or all of its blocks. */
function mismatchedFor({ needs: { mismatchedBlock } }: Objective): readonly Sequence[] {
  if (!mismatchedBlock) return mismatched
  const plan = makePlan({ examples, seed: 1, epochs: 1, batchSize: 8, mismatched: true, mismatchedBlock })
  return mismatchedSequences(examples, pairsOf(plan, 0))
}

function reversed({ rows, referenceLogps, referenceTokens, ...others }: Batch): Batch {
  return {
    rows: rows.toReversed(),
    referenceLogps: referenceLogps.toReversed(),
    referenceTokens: referenceTokens!.toReversed(),
    mismatched: others.mismatched.toReversed(),
    mismatchedReferenceLogps: others.mismatchedReferenceLogps.toReversed(),
    mismatchedReferenceTokens: others.mismatchedReferenceTokens!.toReversed(),
  }
}

/** No two sequences share a prompt. */
function apart(batch: Batch): Batch {
  return {
    ...batch,
    rows: batch.rows.map((example, promptGroup) => ({ ...example, promptGroup })),
    mismatched: batch.mismatched.map((sequence, i) => ({ ...sequence, promptGroup: batch.rows.length + i })),
  }
}

let trainer: Trainer
let batch: Batch

afterEach(() => disposeTrainer(trainer))

function gradients(microBatchTokens: number, rows = batch): Map<string, Float32Array> {
  trainer.microBatchTokens = microBatchTokens
  const { referencePoint } = accumulateGradients(trainer, rows)
  const { mismatched: estimated, reference } = trainer.objective.needs
  if (estimated && reference) expect(referencePoint!.value).toBeGreaterThan(0)
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
  { type: 'kto', referencePoint: 'fixed', referencePointValue: 0.3 },
  { type: 'kto', referencePoint: 'all-pairs', referencePointBlock: 8 },
  { type: 'kto', referencePoint: 'all-pairs', referencePointBlock: 3, humanline: true },
  { type: 'kto', referencePoint: 'all-pairs', valueFunction: 'log-sigmoid', referenceFree: true },
  { type: 'kto', referenceFree: true },
  { type: 'kto', humanline: true },
  { type: 'kto', humanline: true, referencePoint: 'moving-average', valueFunction: 'kahneman-tversky' },
  { type: 'dpo', humanline: true },
  { type: 'cdpo', humanline: true },
  { type: 'ipo', humanline: true },
  { type: 'slic', humanline: true },
  { type: 'simpo', humanline: true, humanlineLow: -10 }, // it clamps log-probabilities, which a random model has low
  { type: 'ppo', humanline: true },
  { type: 'ppo-value', humanline: true },
]
const title = ({ type, ...others }: LossOptions) => [type, ...Object.entries(others).flat()].join(' ')

// Budgets that cut the eight rows into micro-batches of one row or pair, about two, about four, and all rows.
test.each(variants.map((loss) => [title(loss), loss] as const))(
  'the gradient of %s depends neither on how the batch is cut, nor on the order of its rows, nor on sharing prompts',
  (_, loss) => {
    trainer = trainerOf(golden('kto/policy'), loss)
    batch = batchWith(mismatchedFor(trainer.objective))
    const whole = gradients(8192)
    for (const budget of [1, 30, 60]) expectSame(gradients(budget), whole, `at ${budget} tokens`)
    expectSame(gradients(60, reversed(batch)), whole, 'backwards')
    expect(new Set(examples.map(({ promptGroup }) => promptGroup)).size).toBeLessThan(examples.length)
    expectSame(gradients(8192, apart(batch)), whole, 'prompts apart')
    expect(
      Math.max(...[...whole.values()].flatMap((values) => values.map(Math.abs)).map((v) => Math.max(...v))),
    ).toBeGreaterThan(0)
  },
)
