import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type LossOptions, makeObjective } from '../../src/loss/index.ts'
import { implicitRewards, type ReferencePoint } from '../../src/loss/objective.ts'
import { objectiveNames } from '../../src/loss/table.ts'
import { signs } from '../../src/loss/weights.ts'
import { op } from '../../src/tensor/operators.ts'
import { scope } from '../../src/tensor/scope.ts'
import { relativeDifference } from '../train/fixtures.ts'
import { type GivenRows, rowsOfRatios, rowsWithLeaf } from './rows.ts'

const variants: LossOptions[] = [
  ...objectiveNames.map((type) => ({ type })),
  ...(['log-sigmoid', 'identity', 'kahneman-tversky'] as const).map((valueFunction) => ({
    type: 'kto' as const,
    valueFunction,
  })),
  { type: 'kto', referenceFree: true },
  { type: 'kto', humanline: true },
  { type: 'dpo', humanline: true },
]
const point: ReferencePoint = { value: 0.4, mean: 0.4, standardError: 0.1, count: 8 }
const titled = variants.map((loss) => [Object.values(loss).join(' '), loss] as const)

const tokens = fc.array(fc.double({ min: -4, max: -0.05, noNaN: true }), { minLength: 1, maxLength: 4 })
const pair = fc.tuple(tokens, tokens, fc.double({ min: -1, max: 1, noNaN: true }), fc.boolean())
/** Pairs of rows, and an order of the rows. */
const somePairs = fc.array(pair, { minLength: 1, maxLength: 4 }).chain((pairs) => {
  const count = 2 * pairs.length
  return fc.tuple(
    fc.constant(pairs),
    fc.shuffledSubarray(
      Array.from({ length: count }, (_, i) => i),
      { minLength: count, maxLength: count },
    ),
  )
})

function rowsOfPairs(pairs: readonly [number[], number[], number, boolean][]): Required<GivenRows> {
  const policy = pairs.flatMap((pair) => pair.slice(0, 2) as [number[], number[]])
  return {
    policy,
    reference: policy.map((row, i) => row.map((value) => value - pairs[i >> 1]![2])),
    labels: pairs.flatMap(([, , , first]) => [first, !first]),
    pairs: policy.map((_, i) => i >> 1),
    values: policy.map((row) => row.map((value) => value / 4)),
  }
}

function permuted(rows: Required<GivenRows>, order: readonly number[]): Required<GivenRows> {
  const of = <T>(values: readonly T[]) => order.map((row) => values[row]!)
  return {
    policy: of(rows.policy),
    reference: of(rows.reference),
    labels: of(rows.labels),
    pairs: of(rows.pairs),
    values: of(rows.values),
  }
}

function outputs(given: GivenRows, loss: LossOptions) {
  const objective = makeObjective(loss)
  return scope(() => {
    const { rows, leaf } = rowsWithLeaf(given, objective)
    const losses = objective.losses(rows, point)
    losses.sum().backward()
    const gradient = leaf.grad?.toArray() ?? new Float32Array()
    const starts = given.policy.map((_, row) => given.policy.slice(0, row).flat().length)
    const gradients = given.policy.map(({ length }, row) =>
      Array.from(gradient.slice(starts[row], starts[row]! + length)),
    )
    return {
      losses: Array.from(losses.toArray()),
      rewards: Array.from(implicitRewards(objective, rows)?.toArray() ?? []),
      gradients,
      pairs: objective.needs.pairs,
    }
  })
}

test.each(titled)('%s: permuting rows permutes losses, rewards and gradients', (_, loss) => {
  fc.assert(
    fc.property(somePairs, ([pairs, order]) => {
      const given = rowsOfPairs(pairs)
      const before = outputs(given, loss)
      const after = outputs(permuted(given, order), loss)
      const close = (got: number[], want: number[]) => expect(relativeDifference(got, want)).toBeLessThan(1e-5)
      close(
        after.gradients.flat(),
        order.flatMap((row) => before.gradients[row]!),
      )
      if (before.rewards.length > 0)
        close(
          after.rewards,
          order.map((row) => before.rewards[row]!),
        )
      // Pairs come in the order in which they are complete.
      const complete = order.filter((row, i) => order.slice(0, i).includes(row ^ 1)).map((row) => row >> 1)
      close(
        after.losses,
        (before.pairs ? complete : order).map((at) => before.losses[at]!),
      )
    }),
    { numRuns: 25 },
  )
})

test.each(titled.filter(([, { type }]) => makeObjective({ type }).needs.reference))(
  '%s: the loss falls as a desirable row gains and as an undesirable one loses, where no clamp holds it',
  (_, loss) => {
    const objective = makeObjective(loss)
    const at = (ratios: number[]) =>
      scope(() =>
        objective
          .losses(rowsOfRatios(ratios, [true, false], objective).rows, point)
          .sum()
          .item(),
      )
    expect(at([0.3, -0.3])).toBeLessThan(at([0, 0]))
    expect(at([0, 0])).toBeLessThan(at([-0.3, 0.3]))
  },
)

/** |d loss / d r| of a desirable and of an undesirable row. */
function slopes(loss: LossOptions, ratio: number): number[] {
  const objective = makeObjective(loss)
  return scope(() => {
    const { rows, leaf } = rowsOfRatios([ratio, ratio], [true, false], objective)
    objective
      .losses(rows, { ...point, value: 0 })
      .sum()
      .backward()
    return Array.from(leaf.grad!.toArray(), Math.abs)
  })
}

describe('Proposition 4.1 of arXiv 2402.01306: far from the reference point nothing is learnt', () => {
  const kto = (valueFunction: LossOptions['valueFunction']): LossOptions => ({ type: 'kto', beta: 1, valueFunction })
  test('holds for the logistic value function, on both sides', () => {
    fc.assert(
      fc.property(fc.double({ min: 20, max: 60, noNaN: true }), fc.boolean(), (size, gain) => {
        for (const slope of slopes(kto('logistic'), gain ? size : -size)) expect(slope).toBeLessThan(1e-7)
      }),
    )
    for (const slope of slopes(kto('logistic'), 0)) expect(slope).toBeCloseTo(0.25, 6)
  })

  test('does not hold for the identity, nor for losses of the log-sigmoid', () => {
    for (const ratio of [-60, 0, 60]) for (const slope of slopes(kto('identity'), ratio)) expect(slope).toBe(1)
    expect(slopes(kto('log-sigmoid'), -60)[0]).toBeCloseTo(1, 6) // a desirable row far below: a loss, learnt in full
    expect(slopes(kto('log-sigmoid'), 60)[0]).toBeLessThan(1e-7)
  })

  test("Kahneman and Tversky's slope falls off slowly, is lambda times steeper for losses, and stays finite at 0", () => {
    const [gain, loss] = slopes(kto('kahneman-tversky'), 3)
    expect(loss! / gain!).toBeCloseTo(2.25, 5)
    expect(gain!).toBeCloseTo(0.88 * 3 ** -0.12, 5)
    for (const slope of slopes(kto('kahneman-tversky'), 0)) expect(slope).toBeGreaterThan(0)
    expect(slopes(kto('kahneman-tversky'), 0).every(Number.isFinite)).toBe(true)
  })
})

test.each(['ppo', 'ppo-value'] as const)(
  '%s: leaving the replies of the reference costs more the farther it goes',
  (type) => {
    const objective = makeObjective({ type })
    const at = (ratio: number) =>
      scope(() =>
        objective
          .losses(rowsOfRatios([ratio, ratio], [true, false], objective).rows, null)
          .sum()
          .item(),
      )
    for (const ratio of [-2, -10, -50]) expect(at(2 * ratio)).toBeGreaterThan(at(ratio))
  },
)

describe.each(['ppo', 'ppo-value'] as const)('%s: a log-ratio whose exponential is no float32', (type) => {
  const settings: LossOptions = { type, clipRange: 0.5, klCoefficient: 0.1 }
  const at = (ratio: number, humanlineHigh?: number) => {
    const humanline = humanlineHigh === undefined ? {} : { humanline: true, humanlineHigh }
    const objective = makeObjective({ ...settings, ...humanline })
    return scope(() => {
      const { rows, leaf } = rowsOfRatios([ratio, ratio], [true, false], objective)
      const losses = objective.losses(rows, null)
      losses.sum().backward()
      return { losses: Array.from(losses.toArray()), gradient: Array.from(leaf.grad!.toArray()) }
    })
  }

  test.each([61, 88, 89, 200, 1000])('leaves loss and gradient finite (%d)', (ratio) => {
    for (const { losses, gradient } of [at(ratio), at(ratio, 100)]) {
      expect([...losses, ...gradient].every(Number.isFinite)).toBe(true)
      expect(gradient[0]).toBeCloseTo(-0.1, 6) // the gain is clipped: only the penalty has a slope
    }
  })

  test('changes nothing where it is', () => {
    const objective = makeObjective(settings)
    const ratios = [-700, -3.25, -0.1, 0, 0.1, 0.3, 1.75, 20, 59.5]
    for (const ratio of ratios)
      scope(() => {
        const { rows, leaf, values } = rowsOfRatios([ratio, ratio], [true, false], objective)
        const { targets, row } = rows.tokens!
        const advantages = targets?.advantages ?? signs(rows.desirable).indexSelect(0, row)
        const rho = op.exp(leaf)
        const gain = op.minimum(rho.mul(advantages), op.clamp(rho, 0.5, 1.5).mul(advantages))
        const clipped = gain.add(leaf.mul(0.1)).neg()
        const error = values && op.square(values.sub(targets!.returns)).mul(0.005)
        const losses = error ? clipped.add(error) : clipped
        losses.sum().backward()
        expect(at(ratio)).toEqual({ losses: Array.from(losses.toArray()), gradient: Array.from(leaf.grad!.toArray()) })
      })
  })
})

describe('reference points', () => {
  test('z0 is a number: it carries no gradient, whatever it was estimated from', () => {
    const objective = makeObjective({ type: 'kto' })
    scope(() => {
      const { rows } = rowsOfRatios([1, 2], [true, false], objective)
      const { rows: mismatched, leaf } = rowsOfRatios([3, 1], [true, true], objective)
      const z0 = objective.referencePoint!(objective.logRatios(mismatched)!.toArray(), {})
      expect(z0.value).toBe(2)
      objective.losses(rows, z0).sum().backward()
      expect(leaf.grad).toBeNull()
    })
  })

  test('are clamped at 0 where they estimate a KL, and not where there is no reference', () => {
    expect(makeObjective({ type: 'kto' }).referencePoint!([-1, -2], {}).value).toBe(0)
    expect(makeObjective({ type: 'kto', referenceFree: true }).referencePoint!([-1, -2], {}).value).toBe(-1.5)
    const fixed = makeObjective({ type: 'kto', referencePoint: 'fixed', referencePointValue: 0.7 })
    expect(fixed.needs.mismatched).toBe(false)
    expect(fixed.referencePoint!([], {}).value).toBe(0.7)
  })

  test('a moving average starts from the first mean and then moves by 1 - momentum', () => {
    const { referencePoint, nextState, initialState } = makeObjective({
      type: 'kto',
      referencePoint: 'moving-average',
      referencePointMomentum: 0.8,
    })
    const facts = { logRatios: null, desirable: [] }
    const first = referencePoint!([2, 4], initialState!)
    expect(first.value).toBe(3)
    const state = nextState!(initialState!, { ...facts, referencePoint: first })
    const second = referencePoint!([-1, -1], state)
    expect(second).toMatchObject({ mean: -1, count: 2 })
    expect(second.value).toBeCloseTo(0.8 * 3 - 0.2, 12)
    expect(nextState!(state, { ...facts, referencePoint: second }).mean).toBeCloseTo(2.2, 12)
  })
})
