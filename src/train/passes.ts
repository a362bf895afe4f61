import { setImmediate } from 'node:timers/promises'
import { microBatches, pack } from '../data/pack.ts'
import type { Sequence } from '../data/types.ts'
import type { Decoder, Parameters } from '../model/decoder.ts'
import { noGrad, scope } from '../tensor/scope.ts'

/** Called between passes with how many rows are done. */
export type OnRows = (done: number, total: number) => void

/**
 * Summed completion log-probabilities of sequences, without gradient: [sequences] float32, by the order given (not by `row`).
 * `weights` from Decoder.computeWeights().
 */
export function sequenceLogps(
  decoder: Decoder,
  weights: Parameters,
  sequences: readonly Sequence[],
  tokenBudget: number,
): Float32Array {
  const result = new Float32Array(sequences.length)
  for (const batch of indexedMicroBatches(sequences, tokenBudget)) passInto(result, decoder, weights, batch)
  return result
}

/** The same for many sequences: gives way to other work between passes, and stops with the signal's reason. */
export async function sequenceLogpsAsync(
  decoder: Decoder,
  weights: Parameters,
  sequences: readonly Sequence[],
  tokenBudget: number,
  { onRows, signal }: { onRows?: OnRows; signal?: AbortSignal } = {},
): Promise<Float32Array> {
  const result = new Float32Array(sequences.length)
  let done = 0
  for (const batch of indexedMicroBatches(sequences, tokenBudget)) {
    signal?.throwIfAborted()
    passInto(result, decoder, weights, batch)
    done += batch.length
    onRows?.(done, sequences.length)
    await setImmediate()
  }
  return result
}

/** Micro-batches whose sequences carry their position in `sequences` as their row. */
function indexedMicroBatches(sequences: readonly Sequence[], tokenBudget: number): Sequence[][] {
  return microBatches(
    sequences.map((sequence, row) => ({ ...sequence, row })),
    tokenBudget,
  )
}

function passInto(result: Float32Array, decoder: Decoder, weights: Parameters, batch: readonly Sequence[]): void {
  const packed = pack(batch)
  const logps = scope(() => noGrad(() => decoder.completionLogps(weights, packed, batch.length).toArray()))
  packed.rows.forEach((row, i) => {
    result[row] = logps[i]!
  })
}
