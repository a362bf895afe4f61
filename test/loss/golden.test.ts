import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type LossOptions, makeObjective } from '../../src/loss/index.ts'
import { implicitRewards, type Objective, type ReferencePoint } from '../../src/loss/objective.ts'
import { ValueHead } from '../../src/model/value-head.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { golden, relativeDifference } from '../train/fixtures.ts'
import { type GivenRows, rowsWithLeaf } from './rows.ts'

interface Inputs {
  labels: boolean[]
  policy: number[][]
  reference: number[][]
  mismatched_policy: number[][]
  mismatched_reference: number[][]
  values: number[][]
}

interface Case {
  name: string
  peer: string
  options: LossOptions
  loss: number
  losses?: number[]
  rewards?: number[]
  z0?: number
  gradients: number[][]
  batch_nll?: number
  running_before?: number[]
  delta_after?: number
  advantages?: number[][]
  returns?: number[][]
  value_gradients?: number[][]
}

const read = <T>(file: string): T => JSON.parse(readFileSync(golden(`objectives/${file}`), 'utf8')) as T
const inputs = read<Inputs>('inputs.json')
const cases = read<Case[]>('expected.json')
const rows: GivenRows = {
  policy: inputs.policy,
  reference: inputs.reference,
  labels: inputs.labels,
  values: inputs.values,
}

/** z0 as the objective estimates it from the mismatched rows; BCO's, which it remembers, is given. */
function pointOf(objective: Objective, { z0 }: Case): ReferencePoint | null {
  if (!objective.referencePoint) return null
  if (!objective.needs.mismatched) return objective.referencePoint([], { mean: z0 ?? 0, count: 8 })
  const mismatched = { policy: inputs.mismatched_policy, reference: inputs.mismatched_reference, labels: inputs.labels }
  const ratios = scope(() => objective.logRatios(rowsWithLeaf(mismatched, objective).rows)!.toArray())
  return objective.referencePoint(ratios, objective.initialState ?? {})
}

function divisor({ averagedOver }: Objective): number {
  return { rows: 8, pairs: 4, tokens: inputs.policy.flat().length }[averagedOver]
}

test.each(cases.map((one) => [`${one.name} of ${one.peer}`, one] as const))(
  '%s: loss, losses, rewards and gradients are the same',
  (_, want) => {
    const objective = makeObjective(want.options)
    const point = pointOf(objective, want)
    if (want.z0 !== undefined) expect(point!.value / want.z0).toBeCloseTo(1, 5)
    scope(() => {
      const { rows: given, leaf, values } = rowsWithLeaf(rows, objective)
      const losses = objective.losses(given, point)
      const loss = losses.sum().div(divisor(objective))
      loss.backward()
      expect(Math.abs(loss.item() / want.loss - 1)).toBeLessThan(1e-5)
      if (want.losses) expect(relativeDifference(losses.toArray(), want.losses)).toBeLessThan(1e-5)
      const rewards = implicitRewards(objective, given)
      if (want.rewards) expect(relativeDifference(rewards!.toArray(), want.rewards)).toBeLessThan(1e-5)
      expect(relativeDifference(leaf.grad!.toArray(), want.gradients.flat())).toBeLessThan(1e-5)
      if (!want.value_gradients) return
      const { advantages, returns } = given.tokens!.targets!
      expect(relativeDifference(advantages.toArray(), want.advantages!.flat())).toBeLessThan(1e-5)
      expect(relativeDifference(returns.toArray(), want.returns!.flat())).toBeLessThan(1e-5)
      expect(relativeDifference(values!.grad!.toArray(), want.value_gradients.flat())).toBeLessThan(1e-5)
    })
  },
)

test("the value head is HALOs': values of states and gradients, of which the states get none", () => {
  const want = read<{
    states: number[][]
    values: number[]
    parameters: Record<string, number[] | number[][]>
    gradients: Record<string, number[] | number[][]>
  }>('value-head.json')
  scope(() => {
    const parameters = new Map(
      Object.entries(want.parameters).map(([name, values]) => {
        const shape = Array.isArray(values[0]) ? [values.length, values[0].length] : [values.length]
        return [name, Tensor.from(Float32Array.from(values.flat()), shape).withGrad()]
      }),
    )
    const states = Tensor.from(Float32Array.from(want.states.flat()), [5, 6]).withGrad()
    const values = new ValueHead(parameters).values(states)
    expect(relativeDifference(values.toArray(), want.values)).toBeLessThan(1e-5)
    values.mul(values).sum().backward()
    for (const [name, parameter] of parameters)
      expect(relativeDifference(parameter.grad!.toArray(), want.gradients[name]!.flat()), name).toBeLessThan(1e-5)
    expect(states.grad).toBeNull()
  })
})

test('the log-ratios are on both sides of the humanline clamp, and clamped ones get no gradient', () => {
  const ratios = inputs.policy.flatMap((tokens, row) => tokens.map((value, i) => value - inputs.reference[row]![i]!))
  const clamped = ratios.map((ratio) => ratio < -1 || ratio > 1.5)
  expect(clamped.filter(Boolean).length).toBeGreaterThan(3)
  const { gradients } = cases.find(({ name }) => name === 'kto-humanline')!
  expect(gradients.flat().map((gradient) => gradient === 0)).toEqual(clamped)
})

describe('where we differ from a peer', () => {
  test("BCO's running mean: TRL takes a batch in before it uses it; here it counts from the next step on, and is then the same", () => {
    const { running_before: before, delta_after: after, rewards, options } = cases.find(({ name }) => name === 'bco')!
    const beta = options.beta!
    const { nextState } = makeObjective(options)
    const facts = { desirable: inputs.labels, referencePoint: null }
    const start = nextState!({ mean: 0, count: 0 }, { ...facts, logRatios: before!.map((reward) => reward / beta) })
    const next = nextState!(start, { ...facts, logRatios: rewards!.map((reward) => reward / beta) })
    expect(next.mean! * beta).toBeCloseTo(after!, 6)
    expect(next.count).toBe(16)
  })

  test("ORPO's imitation: the paper averages each completion's tokens, then completions; TRL averages all tokens, so long ones weigh more", () => {
    const { batch_nll: ofAllTokens, losses, loss } = cases.find(({ name }) => name === 'orpo')!
    const lengths = inputs.policy.filter((_, row) => inputs.labels[row]).map(({ length }) => length)
    expect(new Set(lengths).size).toBeGreaterThan(1)
    const chosen = inputs.policy.filter((_, row) => inputs.labels[row])
    const ofCompletions = chosen.map((tokens) => -tokens.reduce((sum, value) => sum + value, 0) / tokens.length)
    const mean = ofCompletions.reduce((sum, value) => sum + value, 0) / ofCompletions.length
    expect(Math.abs(mean - ofAllTokens!)).toBeGreaterThan(0.01)
    expect(losses!.reduce((sum, value) => sum + value, 0) / 4).toBeCloseTo(loss, 5)
  })
})
