import type { Objective, Rows } from '../../src/loss/objective.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { concatenated, lossRows, sumsOfRows } from '../../src/train/rows.ts'

/** Rows given by the log-probabilities of their tokens. Pairs are rows 0 and 1, 2 and 3, ... unless `pairs` says otherwise. */
export interface GivenRows {
  policy: readonly (readonly number[])[]
  reference: readonly (readonly number[])[]
  labels: readonly boolean[]
  pairs?: readonly number[]
  /** Of the states before the tokens; 0 where they are left out. */
  values?: readonly (readonly number[])[]
}

/** Rows as an objective sees them, and the leaf that their policy log-probabilities come from. */
export function rowsWithLeaf(
  given: GivenRows,
  { needs, tokenTargets }: Pick<Objective, 'needs' | 'tokenTargets'>,
): { rows: Rows; leaf: Tensor; values: Tensor | null } {
  const examples = given.policy.map((tokens, i) => ({
    completion: new Int32Array(tokens.length),
    desirable: given.labels[i]!,
    pair: given.pairs?.[i] ?? Math.floor(i / 2),
  }))
  const leaf = Tensor.from(concatenated(given.policy.map((tokens) => Float32Array.from(tokens)))).withGrad()
  const states = given.policy.map((tokens, row) => Float32Array.from(tokens, (_, i) => given.values?.[row]?.[i] ?? 0))
  const values = needs.values ? Tensor.from(concatenated(states)).withGrad() : null
  const policy = { sums: sumsOfRows(leaf, examples), tokens: needs.tokens ? leaf : null, values }
  const tokens = given.reference.map((values) => Float32Array.from(values))
  const reference = { sums: tokens.map((values) => values.reduce((sum, value) => sum + value, 0)), tokens }
  const targets = tokenTargets?.(states, given.labels) ?? null
  return { rows: lossRows(needs, examples, policy, reference, targets), leaf, values }
}

/** Rows of one token each, given by their log-ratios: the reference is 0 everywhere. */
export function rowsOfRatios(ratios: readonly number[], labels: readonly boolean[], objective: Objective) {
  return rowsWithLeaf({ policy: ratios.map((ratio) => [ratio]), reference: ratios.map(() => [0]), labels }, objective)
}
