import { afterEach, expect, test } from 'vitest'
import { makePlan } from '../../src/data/plan.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import { batchOf, pairKey } from '../../src/train/batches.ts'
import { mismatchedLogRatios, type Trainer, trainStep } from '../../src/train/step.ts'
import { disposeTrainer, golden, goldenRows, trainerOf } from './fixtures.ts'

let trainer: Trainer
afterEach(() => disposeTrainer(trainer))

test('a step of all-pairs says how far off z0 may be, by rows and completions that its pairs have in common', () => {
  const { examples } = goldenRows()
  trainer = trainerOf(golden('kto/policy'), { type: 'kto', referencePoint: 'all-pairs', referencePointBlock: 8 })
  const { objective, decoder } = trainer
  const plan = makePlan({ examples, seed: 1, epochs: 1, batchSize: 8, mismatched: true, mismatchedBlock: 8 })
  const { mismatches } = plan.batch(0)
  const reference = {
    rows: new Float32Array(8).fill(-60),
    mismatched: new Map(mismatches.map(({ row, partner }) => [pairKey(row, partner, 8), -60 - row])),
    tokens: null,
  }
  const batch = batchOf(plan, 0, examples, reference)
  const weights = noGrad(() => scope(() => decoder.computeWeights('float32')))
  const ratios = mismatchedLogRatios(trainer, weights, batch)
  const { referencePoint } = trainStep(trainer, batch, 1)
  const [independent, shared] = [undefined, mismatches].map((pairs) => objective.referencePoint!(ratios, {}, pairs))
  expect(referencePoint!.mean).toBeCloseTo(shared!.mean, 3)
  expect(referencePoint!.standardError).toBeCloseTo(shared!.standardError, 3)
  expect(shared!.standardError).toBeGreaterThan(1.5 * independent!.standardError)
})
