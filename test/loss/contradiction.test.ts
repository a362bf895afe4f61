import { expect, test } from 'vitest'
import { type LossOptions, makeObjective } from '../../src/loss/index.ts'
import { op } from '../../src/tensor/operators.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { lossRows } from '../../src/train/rows.ts'

/** One prompt with two answers: what share of its judges prefers the first, and how probable the reference finds it. */
interface World {
  majority: number
  reference: number
}

/** Probability of the first answer for a policy that is a table, after gradient descent on the objective from the reference. */
function learnt(loss: LossOptions, { majority, reference }: World, steps = 1500): number {
  const objective = makeObjective(loss)
  const referenceLogps = [reference, 1 - reference].map(Math.log)
  // Each judge's pair, and its mirror image: the first answer wins, or the second.
  const answers = [0, 1, 1, 0]
  const rows = answers.map((_, i) => ({ completion: new Int32Array(1), desirable: i % 2 === 0, pair: i >> 1 }))
  const shares = [majority, majority, 1 - majority, 1 - majority]
  return scope(() => {
    const logits = Tensor.from(Float32Array.from(referenceLogps)).withGrad()
    const index = Tensor.from(Int32Array.from(answers), [4], 'int64')
    const weights = Tensor.from(Float32Array.from(objective.needs.pairs ? [shares[0]!, shares[2]!] : shares))
    const point = objective.referencePoint?.([], objective.initialState ?? {}) ?? null
    for (let step = 0; step < steps; step++) {
      scope(() => {
        const sums = op.logSoftmax(logits, 0).indexSelect(0, index)
        const given = { sums: answers.map((answer) => referenceLogps[answer]!), tokens: null }
        const losses = objective.losses(lossRows(objective.needs, rows, { sums, tokens: null }, given), point)
        losses.mul(weights).sum().backward()
        noGrad(() => op.addInPlace(logits, logits.grad!, -0.5))
        logits.grad = null
      })
    }
    return op.softmax(logits, 0).toArray()[0]!
  })
}

// 60 of 100 judges prefer the answer that the reference hardly gives.
const world: World = { majority: 0.6, reference: 0.2 }

test("Theorem 4.3 of arXiv 2402.01306: under contradictory judgements KTO's optimum gives the majority's answer", () => {
  expect(learnt({ type: 'kto', beta: 1 }, world)).toBeGreaterThan(0.95)
  expect(learnt({ type: 'kto', beta: 1 }, { ...world, majority: 0.4 })).toBeLessThan(0.05)
})

test("DPO's optimum weighs the judgements with the reference, and so gives the minority's answer here", () => {
  // pi(y_a) / pi(y_b) = (p / (1 - p))^(1 / beta) pi_ref(y_a) / pi_ref(y_b) = 1.5 * 0.25
  const share = learnt({ type: 'dpo', beta: 1 }, world)
  expect(share / (1 - share)).toBeCloseTo(0.375, 3)
  expect(share).toBeLessThan(0.5)
})

test.each([
  [0.5, 0.36],
  [0.25, 0.559],
  [0.1, 0.935],
])("at beta %d DPO's optimum gives the majority's answer with %d", (beta, want) => {
  expect(learnt({ type: 'dpo', beta }, world, 6000)).toBeCloseTo(want, 3)
  expect(learnt({ type: 'kto', beta }, world, 6000)).toBeGreaterThan(0.95)
})
