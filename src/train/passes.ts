import { microBatches, type Packed, pack } from '../data/pack.ts'
import type { Sequence } from '../data/types.ts'
import { LayerKeys } from '../model/attention.ts'
import type { Decoder, Weights } from '../model/decoder.ts'
import { readTogether } from '../tensor/device.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import type { Dtype } from '../tensor/tensor.ts'

/** Prompts whose keys and values another pass has computed with the same weights. Lives until it is disposed. */
export class KnownPrompts {
  readonly keys = new LayerKeys()
  /** Where each prompt's tokens begin in that pass's stream, by `promptGroup`. */
  starts: ReadonlyMap<number, number> = new Map()

  /** What a decoder takes to run a stream and keep its keys and values here. */
  keeping(packed: Packed): Packed & { keep: LayerKeys } {
    this.starts = packed.promptStarts
    return { ...packed, keep: this.keys }
  }

  dispose(): void {
    this.keys.dispose()
  }
}

/**
 * Summed completion log-probabilities of sequences, without gradient: [sequences] float32, by the order given (not by `row`).
 * `weights` from Decoder.computeWeights(). Prompts in `known` are not computed again; where one pass is enough, its own prompts go to `keep`.
 */
export function sequenceLogps(
  decoder: Decoder,
  weights: Weights,
  sequences: readonly Sequence[],
  tokenBudget: number,
  known?: KnownPrompts | null,
  keep?: KnownPrompts,
): Float32Array {
  const result = new Float32Array(sequences.length)
  const batches = indexedMicroBatches(sequences, tokenBudget)
  const packs = batches.map((batch) => packWith(batch, known, batches.length === 1 ? keep : undefined))
  const pass = (stream: Stream) =>
    scope(() => noGrad(() => decoder.completionLogps(weights, stream, stream.rows.length)))
  const values = scope(() => readTogether(packs.map(pass)))
  for (const [i, { rows }] of packs.entries()) {
    for (const [at, row] of rows.entries()) result[row] = values[i]![at]!
  }
  return result
}

/** The same token by token: of each sequence [completion tokens]. */
export function sequenceTokenLogps(
  decoder: Decoder,
  weights: Weights,
  sequences: readonly Sequence[],
  tokenBudget: number,
  known?: KnownPrompts | null,
  keep?: KnownPrompts,
): Float32Array[] {
  const result: Float32Array[] = new Array(sequences.length)
  const batches = indexedMicroBatches(sequences, tokenBudget)
  const packs = batches.map((batch) => packWith(batch, known, batches.length === 1 ? keep : undefined))
  const values = scope(() =>
    readTogether(packs.map((stream) => scope(() => noGrad(() => decoder.tokenLogps(weights, stream))))),
  )
  for (const [i, { rows }] of packs.entries()) {
    let offset = 0
    for (const row of rows) {
      const { length } = sequences[row]!.completion
      result[row] = values[i]!.slice(offset, offset + length) // a row's tokens lie together
      offset += length
    }
  }
  return result
}

/** Their sums, added up in float64 and rounded once as the decoder does it. */
export function tokenSums(tokens: readonly Float32Array[]): Float32Array {
  return Float32Array.from(tokens, (values) => values.reduce((sum, value) => sum + value, 0))
}

/**
 * Casts the decoder's weights for passes without gradient, and frees them once `work` has ended: for work that gives way to other work, where
 * a scope would not do.
 */
export async function withComputeWeights<R>(
  decoder: Decoder,
  compute: Dtype,
  work: (weights: Weights) => Promise<R>,
): Promise<R> {
  const weights = noGrad(() => scope(() => decoder.computeWeights(compute)))
  try {
    return await work(weights)
  } finally {
    decoder.disposeWeights(weights)
  }
}

/** Micro-batches whose sequences carry their position in `sequences` as their row. */
function indexedMicroBatches(sequences: readonly Sequence[], tokenBudget: number): Sequence[][] {
  return microBatches(
    sequences.map((sequence, row) => ({ ...sequence, row })),
    tokenBudget,
  )
}

type Stream = Packed & { context?: LayerKeys; keep?: LayerKeys }

function packWith(batch: readonly Sequence[], known?: KnownPrompts | null, keep?: KnownPrompts): Stream {
  const packed: Stream =
    known && known.starts.size > 0 ? { ...pack(batch, known.starts), context: known.keys } : pack(batch)
  return keep ? keep.keeping(packed) : packed
}
