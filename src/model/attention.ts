import { op } from '../tensor/operators.ts'
import { outsideScopes } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

/**
 * A run of tokens in a packed stream. Its tokens see those before them in the segment, and all of the parent segment (-1: none). A foreign one
 * lies in the stream whose keys and values `LayerKeys` holds.
 */
export interface Segment {
  start: number
  length: number
  parent: number
  foreign?: boolean
}

/** Keys and values of a stream's tokens in each layer, each [tokens, keyValueHeads, headSize], without gradient. Outlives scopes. */
export class LayerKeys {
  readonly #layers: { keys: Tensor; values: Tensor }[] = []
  #disposed = false

  /** Keeps what a layer computed; a second time, or once it is disposed of (a layer may be computed again), changes nothing. Shares memory. */
  keep(layer: number, keys: Tensor, values: Tensor): void {
    if (this.#disposed) return
    this.#layers[layer] ??= outsideScopes(() => ({ keys: keys.detach(), values: values.detach() }))
  }

  of(layer: number): { keys: Tensor; values: Tensor } {
    const found = this.#layers[layer]
    if (!found) throw new Error(`layer ${layer} has not been computed: its keys and values are not known`)
    return found
  }

  dispose(): void {
    this.#disposed = true
    for (const { keys, values } of this.#layers) {
      keys.dispose()
      values.dispose()
    }
    this.#layers.length = 0
  }
}

/** How a layer attends. */
export interface AttentionForm {
  /** Queries are multiplied by it. */
  scale: number
  /** Scores become c tanh(score / c); null: they stay. */
  softCap: number | null
  /** A token sees so many tokens, itself among them; null: all before it. */
  window: number | null
}

/** Queries [tokens, heads, headSize], keys and values [tokens, keyValueHeads, headSize], after rotation -> [tokens, heads x headSize]. */
export type Attention = (layer: number, queries: Tensor, keys: Tensor, values: Tensor, form: AttentionForm) => Tensor

/**
 * Causal attention within the segments of a packed stream, each completion seeing its prompt and itself. Scores and weights exist only a block
 * of queries at a time, in forward and backward. `keep` is given the stream's keys and values; foreign segments are read from `context`, without
 * gradient.
 */
export function segmentAttention(
  segments: readonly Segment[],
  { keep, context }: { keep?: LayerKeys; context?: LayerKeys } = {},
): Attention {
  const table = segmentTable(segments)
  return (layer, queries, keys, values, { scale, softCap, window }) => {
    keep?.keep(layer, keys, values)
    const other = context?.of(layer)
    return op.segmentAttention(
      queries,
      keys,
      values,
      table,
      scale,
      window ?? 0,
      softCap ?? 0,
      other?.keys,
      other?.values,
    )
  }
}

/** int32 [segments, 4]: start, length, parent, and whether it is foreign. */
function segmentTable(segments: readonly Segment[]): Tensor {
  const rows = new Int32Array(4 * segments.length)
  for (const [i, { start, length, parent, foreign }] of segments.entries())
    rows.set([start, length, parent, Number(foreign ?? false)], 4 * i)
  return Tensor.from(rows, [segments.length, 4])
}
