import type { Needs, Rows } from '../../src/loss/objective.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { concatenated, lossRows, sumsByRow } from '../../src/train/rows.ts'

/** Rows given by the log-probabilities of their tokens. Pairs are rows 0 and 1, 2 and 3, ... unless `pairs` says otherwise. */
export interface GivenRows {
  policy: readonly (readonly number[])[]
  reference: readonly (readonly number[])[]
  labels: readonly boolean[]
  pairs?: readonly number[]
}

/** Rows as an objective sees them, and the leaf that their policy log-probabilities come from. */
export function rowsWithLeaf(given: GivenRows, needs: Needs): { rows: Rows; leaf: Tensor } {
  const examples = given.policy.map((tokens, i) => ({
    completion: new Int32Array(tokens.length),
    desirable: given.labels[i]!,
    pair: given.pairs?.[i] ?? Math.floor(i / 2),
  }))
  const leaf = Tensor.from(concatenated(given.policy.map((tokens) => Float32Array.from(tokens)))).withGrad()
  const policy = { sums: sumsByRow(leaf, examples), tokens: needs.tokens ? leaf : null }
  const tokens = given.reference.map((values) => Float32Array.from(values))
  const reference = { sums: tokens.map((values) => values.reduce((sum, value) => sum + value, 0)), tokens }
  return { rows: lossRows(needs, examples, policy, reference), leaf }
}

/** Rows of one token each, given by their log-ratios: the reference is 0 everywhere. */
export function rowsOfRatios(ratios: readonly number[], labels: readonly boolean[], needs: Needs) {
  return rowsWithLeaf({ policy: ratios.map((ratio) => [ratio]), reference: ratios.map(() => [0]), labels }, needs)
}
