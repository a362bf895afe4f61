import type { Mismatch, Plan } from '../data/plan.ts'
import type { Example, Sequence } from '../data/types.ts'
import type { Batch } from './step.ts'

/** Log-probabilities under the reference of a data set's rows and of all mismatched pairs that its plan makes. */
export interface ReferenceLogps {
  /** By example index. */
  rows: Float32Array
  /** By `pairKey`. */
  mismatched: ReadonlyMap<number, number>
  /** The same token by token, where the objective needs that. */
  tokens: { rows: readonly Float32Array[]; mismatched: ReadonlyMap<number, Float32Array> } | null
}

/** One number for a row and the example whose completion it is paired with. */
export function pairKey(row: number, partner: number, examples: number): number {
  return row * examples + partner
}

/** The mismatched pairs of one step, by example index; rows without a partner are left out. */
export function pairsOf(plan: Plan, step: number): Mismatch[] {
  return [...plan.batch(step).mismatches]
}

/** A row's prompt followed by another example's completion, for each pair. */
export function mismatchedSequences(examples: readonly Example[], pairs: readonly Mismatch[]): Sequence[] {
  return pairs.map(({ row, partner }, i) => {
    const { prompt, promptGroup } = examples[row]!
    return { prompt, promptGroup, completion: examples[partner]!.completion, row: i }
  })
}

/** The global batch of one step. `reference` is null where the objective needs none. */
export function batchOf(
  plan: Plan,
  step: number,
  examples: readonly Example[],
  reference: ReferenceLogps | null,
): Batch {
  const indices = plan.batch(step).rows
  const pairs = pairsOf(plan, step)
  const ofPair = <T>(values: ReadonlyMap<number, T>, { row, partner }: Mismatch) =>
    values.get(pairKey(row, partner, examples.length))!
  const tokens = reference?.tokens
  return {
    rows: indices.map((index) => examples[index]!),
    referenceLogps: Float32Array.from(reference ? indices : [], (index) => reference!.rows[index]!),
    mismatched: mismatchedSequences(examples, pairs),
    mismatches: pairs,
    mismatchedReferenceLogps: Float32Array.from(reference ? pairs : [], (pair) => ofPair(reference!.mismatched, pair)),
    ...(tokens && {
      referenceTokens: indices.map((index) => tokens.rows[index]!),
      mismatchedReferenceTokens: pairs.map((pair) => ofPair(tokens.mismatched, pair)),
    }),
  }
}
