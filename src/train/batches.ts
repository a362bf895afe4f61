import type { Plan } from '../data/plan.ts'
import type { Example, Sequence } from '../data/types.ts'
import type { Batch } from './step.ts'

/** Log-probabilities under the reference of a data set's rows and of all mismatched pairs that its plan makes. */
export interface ReferenceLogps {
  /** By example index. */
  rows: Float32Array
  /** By `pairKey`. */
  mismatched: ReadonlyMap<number, number>
}

/** One number for a row and the example whose completion it is paired with. */
export function pairKey(row: number, partner: number, examples: number): number {
  return row * examples + partner
}

/** The mismatched pairs of one step, by example index; rows without a partner are left out. */
export function pairsOf(plan: Plan, step: number): { row: number; partner: number }[] {
  const { rows, partners } = plan.batch(step)
  return rows.flatMap((row, i) => {
    const partner = partners[i]
    return partner == null ? [] : [{ row, partner }]
  })
}

/** A row's prompt followed by another example's completion, for each pair. */
export function mismatchedSequences(
  examples: readonly Example[],
  pairs: readonly { row: number; partner: number }[],
): Sequence[] {
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
  const pairs = reference ? pairsOf(plan, step) : []
  const ofPair = ({ row, partner }: { row: number; partner: number }) =>
    reference!.mismatched.get(pairKey(row, partner, examples.length))!
  return {
    rows: indices.map((index) => examples[index]!),
    referenceLogps: reference ? Float32Array.from(indices, (index) => reference.rows[index]!) : new Float32Array(),
    mismatched: mismatchedSequences(examples, pairs),
    mismatchedReferenceLogps: Float32Array.from(pairs, ofPair),
  }
}
