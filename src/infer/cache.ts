import { type Attention, type Segment, segmentAttention } from '../model/attention.ts'
import type { ModelConfig } from '../model/config.ts'
import { softCap } from '../model/layers.ts'
import { op } from '../tensor/operators.ts'
import { outsideScopes, scope } from '../tensor/scope.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'

/** Where a token's keys and values lie: a row's slot and the token's position in the row. */
export interface Place {
  slot: number
  position: number
}

/** Bytes that a row of so many tokens takes in the cache. */
export function cacheBytes({ layers, keyValueHeads, headSize }: ModelConfig, dtype: Dtype, tokens: number): number {
  return 2 * layers * keyValueHeads * headSize * tokens * (dtype === 'float32' ? 4 : 2)
}

/**
 * Keys and values of the tokens so far, for rows that are extended together. Row i lies in slot i of [slots, keyValueHeads, capacity, headSize],
 * so that the first rows of all are one block of memory. What lies beyond a row's length is finite and masked.
 */
export class KeyValueCache {
  readonly #config: ModelConfig
  readonly #slots: number
  readonly #dtype: Dtype
  #layers: { keys: Tensor; values: Tensor }[] = []
  #capacity = 0

  /** `dtype`: that of keys and values, which is the matrices' own. */
  constructor(config: ModelConfig, slots: number, dtype: Dtype) {
    this.#config = config
    this.#slots = slots
    this.#dtype = dtype
  }

  /** Makes room for rows of this many tokens. Room at least doubles, so that a growing row is rarely copied. */
  reserve(tokens: number): void {
    if (tokens <= this.#capacity) return
    const capacity = Math.min(Math.max(64, tokens, 2 * this.#capacity), Math.max(tokens, this.#config.maxPositions))
    const { layers, keyValueHeads, headSize } = this.#config
    const shape = [this.#slots, keyValueHeads, capacity, headSize]
    const previous = this.#layers
    const larger = (old: Tensor | undefined) =>
      scope(() => {
        const grown = outsideScopes(() => op.zeros(shape, this.#dtype))
        if (old) op.copyInPlace(grown.narrow(2, 0, this.#capacity), old)
        old?.dispose()
        return grown
      })
    this.#layers = Array.from({ length: layers }, (_, layer) => ({
      keys: larger(previous[layer]?.keys),
      values: larger(previous[layer]?.values),
    }))
    this.#capacity = capacity
  }

  /** Copies the first `length` tokens of a slot to another. */
  move(from: number, to: number, length: number): void {
    const part = (all: Tensor, slot: number) => all.narrow(0, slot, 1).narrow(2, 0, length)
    scope(() => {
      for (const { keys, values } of this.#layers)
        for (const all of [keys, values]) op.copyInPlace(part(all, to), part(all, from))
    })
  }

  /** Attention of whole prompts, packed as `segments`, that keeps their keys and values at `places`, one a token. */
  readPrompts(segments: readonly Segment[], places: readonly Place[]): Attention {
    const within = segmentAttention(segments)
    const indices = this.#indices(places)
    return (layer, queries, keys, values, form) => {
      this.#store(layer, keys, values, indices)
      return within(layer, queries, keys, values, form)
    }
  }

  /** Attention of one new token a row, in the order of slots, over its row up to and including itself. */
  extendRows(places: readonly Place[]): Attention {
    const { heads, keyValueHeads, headSize } = this.#config
    const rows = places.length
    const context = 1 + Math.max(...places.map(({ position }) => position))
    const indices = this.#indices(places)
    const windows = new Set(this.#config.attention.map(({ window }) => window))
    const masks = new Map(
      Array.from(windows, (window) => [window, lengthMask(places, context, window).to(this.#dtype)]),
    )
    const groups = rows * keyValueHeads
    const first = (all: Tensor) => all.view(-1, this.#capacity, headSize).narrow(0, 0, groups).narrow(1, 0, context) // [groups, context, headSize]
    return (layer, queries, keys, values, { scale, softCap: cap, window }) => {
      this.#store(layer, keys, values, indices)
      const all = this.#layers[layer]!
      const scaled = queries.mul(scale).view(groups, heads / keyValueHeads, headSize)
      const scores = softCap(scoresOf(scaled, first(all.keys)).view(rows, heads, context), cap).add(masks.get(window)!)
      const weights = op
        .softmax(scores, -1, 'float32')
        .to(this.#dtype)
        .view(groups, heads / keyValueHeads, context)
      return mixOf(weights, first(all.values)).view(rows, heads * headSize)
    }
  }

  dispose(): void {
    for (const { keys, values } of this.#layers) {
      keys.dispose()
      values.dispose()
    }
    this.#layers = []
    this.#capacity = 0
  }

  #store(layer: number, keys: Tensor, values: Tensor, indices: Tensor): void {
    const { headSize } = this.#config
    const all = this.#layers[layer]!
    op.indexCopyInPlace(all.keys.view(-1, headSize), 0, indices, keys.reshape(-1, headSize))
    op.indexCopyInPlace(all.values.view(-1, headSize), 0, indices, values.reshape(-1, headSize))
  }

  /** Where each head of each token lies in a layer seen as [slots x keyValueHeads x capacity, headSize]. */
  #indices(places: readonly Place[]): Tensor {
    const { keyValueHeads } = this.#config
    const indices = new Int32Array(places.length * keyValueHeads)
    let i = 0
    for (const { slot, position } of places) {
      for (let head = 0; head < keyValueHeads; head++)
        indices[i++] = (slot * keyValueHeads + head) * this.#capacity + position
    }
    return Tensor.from(indices).to('int64')
  }
}

/** 0 up to each row's position, within the window where there is one; else -infinity: [rows, 1, context] float32. */
function lengthMask(places: readonly Place[], context: number, window: number | null): Tensor {
  const mask = new Float32Array(places.length * context)
  for (const [row, { position }] of places.entries()) {
    mask.fill(Number.NEGATIVE_INFINITY, row * context + position + 1, (row + 1) * context)
    if (window !== null && window <= position)
      mask.fill(Number.NEGATIVE_INFINITY, row * context, row * context + position + 1 - window)
  }
  return Tensor.from(mask, [places.length, 1, context])
}

/**
 * A batch of small float32 products costs OpenBLAS a call each; up to about this many elements a matrix, the product element by element with
 * a sum is several times faster.
 */
const smallProduct = 32_768

function isSmall(matrices: Tensor, shared: number): boolean {
  const [, context, headSize] = matrices.shape as [number, number, number]
  return matrices.dtype === 'float32' && shared * context * headSize <= smallProduct
}

/** queries [groups, shared, headSize], keys [groups, context, headSize] -> [groups, shared, context] */
function scoresOf(queries: Tensor, keys: Tensor): Tensor {
  if (!isSmall(keys, queries.shape[1]!)) return queries.matmul(keys.transpose(1, 2))
  return op.unsqueeze(keys, 1).mul(op.unsqueeze(queries, 2)).sum([-1])
}

/** weights [groups, shared, context], values [groups, context, headSize] -> [groups, shared, headSize] */
function mixOf(weights: Tensor, values: Tensor): Tensor {
  if (!isSmall(values, weights.shape[1]!)) return weights.matmul(values)
  return op.unsqueeze(values, 1).mul(op.unsqueeze(weights, 3)).sum([-2])
}
