import type { Attention } from '../model/attention.ts'
import type { ModelConfig } from '../model/config.ts'
import { op } from '../tensor/operators.ts'
import { outsideScopes, scope } from '../tensor/scope.ts'
import { type Device, type Dtype, Tensor } from '../tensor/tensor.ts'

/** Tokens of a page, as native/kernels has it. */
export const pageTokens = 32

/** What one pass over some tokens needs to know: the pages of each row, and row and position of each token. */
export interface Layout {
  pages: readonly (readonly number[])[]
  rows: Int32Array
  positions: Int32Array
}

/**
 * Keys and values in pages of 32 tokens, which rows fill one after the other and may share where their tokens begin alike. A page that no row uses keeps
 * what it holds until it is needed, so that a later row with the same beginning finds it. Pages are refilled oldest first.
 */
export class PagedCache {
  readonly #config: ModelConfig
  readonly #dtype: Dtype
  readonly #most: number
  readonly #device: Device
  #layers: { keys: Tensor; values: Tensor }[] = []
  #uses: number[] = []
  readonly #empty: number[] = []
  /** Pages without a row whose content may be found again, the oldest first. */
  readonly #idle = new Set<number>()
  /** What a page holds, by the tokens up to its end. */
  readonly #known = new Map<string, number>()
  readonly #keyOf = new Map<number, string>()
  #prefixes = 0
  readonly #prefixOf = new Map<number, number>()

  /** `dtype`: that of keys and values, which is the matrices' own. At most `mostPages` are held. */
  constructor(config: ModelConfig, dtype: Dtype, mostPages: number, device: Device = 'cpu') {
    this.#config = config
    this.#dtype = dtype
    this.#most = mostPages
    this.#device = device
  }

  /** Pages that could be taken now. */
  get free(): number {
    return this.#most - this.#uses.length + this.#empty.length + this.#idle.size
  }

  /** A page for one row; null where all are in use. */
  take(): number | null {
    const page = this.#empty.pop() ?? this.#grown() ?? this.#forgotten()
    if (page === null) return null
    this.#uses[page] = 1
    return page
  }

  release(pages: readonly number[]): void {
    for (const page of pages) {
      this.#uses[page]!--
      if (this.#uses[page] !== 0) continue
      if (this.#keyOf.has(page)) this.#idle.add(page)
      else this.#empty.push(page)
    }
  }

  /**
   * The pages that hold the beginning of `tokens`, as far as whole pages go and are known; they are the caller's to release. Rows of another `kind`
   * hold other keys for the same tokens.
   */
  find(tokens: Int32Array, kind: string): number[] {
    const found: number[] = []
    let prefix: string | number = kind
    for (let start = 0; start + pageTokens <= tokens.length; start += pageTokens) {
      const page = this.#known.get(keyOf(prefix, tokens, start))
      if (page === undefined) break
      this.#idle.delete(page)
      this.#uses[page]!++
      prefix = this.#prefixOf.get(page)!
      found.push(page)
    }
    return found
  }

  /** Makes what the whole pages of `tokens` hold (or will, once the pass under way has run) known to `find`. */
  remember(tokens: Int32Array, kind: string, pages: readonly number[]): void {
    let prefix: string | number = kind
    for (let start = 0; start + pageTokens <= tokens.length; start += pageTokens) {
      const key = keyOf(prefix, tokens, start)
      const page = this.#known.get(key) ?? this.#name(key, pages[start / pageTokens]!)
      prefix = this.#prefixOf.get(page)!
    }
  }

  /** Attention that stores a pass's keys and values, and lets each token see its row up to itself. */
  attention({ pages, rows, positions }: Layout): Attention {
    const most = Math.max(...pages.map(({ length }) => length))
    const table = new Int32Array(pages.length * most).fill(-1)
    for (const [row, own] of pages.entries()) table.set(own, row * most)
    const [pagesTensor, rowsTensor, positionsTensor] = [
      Tensor.from(table, [pages.length, most]),
      Tensor.from(rows),
      Tensor.from(positions),
    ]
    return (layer, queries, keys, values, { scale, window, softCap }) => {
      const pool = this.#layers[layer]!
      return op.pagedAttention(
        queries,
        keys,
        values,
        pool.keys,
        pool.values,
        pagesTensor,
        rowsTensor,
        positionsTensor,
        scale,
        window ?? 0,
        softCap ?? 0,
      )
    }
  }

  dispose(): void {
    for (const tensor of this.#layers.flatMap(({ keys, values }) => [keys, values])) tensor.dispose()
    this.#layers = []
  }

  #name(key: string, page: number): number {
    this.#known.set(key, page)
    this.#keyOf.set(page, key)
    this.#prefixOf.set(page, ++this.#prefixes)
    return page
  }

  /** The first page of more memory; null where there may be no more. Memory doubles, so that pages are rarely copied. */
  #grown(): number | null {
    const held = this.#uses.length
    if (held === this.#most) return null
    const capacity = Math.min(this.#most, Math.max(16, 2 * held))
    if (this.#layers.length === 0) this.#layers = Array.from({ length: this.#config.layers }, () => this.#pools(0))
    const previous = this.#layers
    this.#layers = previous.map(({ keys, values }) => {
      const larger = this.#pools(capacity)
      if (held > 0) {
        scope(() => {
          op.copyInPlace(larger.keys.narrow(0, 0, held), keys)
          op.copyInPlace(larger.values.narrow(0, 0, held), values)
        })
      }
      keys.dispose()
      values.dispose()
      return larger
    })
    for (let page = capacity - 1; page > held; page--) this.#empty.push(page)
    this.#uses = Array.from({ length: capacity }, (_, page) => this.#uses[page] ?? 0)
    return held
  }

  #pools(pages: number): { keys: Tensor; values: Tensor } {
    const { keyValueHeads, headSize } = this.#config
    const padded = 16 * Math.ceil(headSize / 16)
    return outsideScopes(() => ({
      keys: op.zeros([pages, keyValueHeads, headSize, pageTokens], this.#dtype, undefined, this.#device),
      values: op.zeros([pages, keyValueHeads, pageTokens, padded], this.#dtype, undefined, this.#device),
    }))
  }

  #forgotten(): number | null {
    const [page] = this.#idle
    if (page === undefined) return null
    this.#idle.delete(page)
    this.#known.delete(this.#keyOf.get(page)!)
    this.#keyOf.delete(page)
    this.#prefixOf.delete(page)
    return page
  }
}

/** A page's tokens, and which beginning they follow. */
function keyOf(prefix: string | number, tokens: Int32Array, start: number): string {
  return `${prefix}:${tokens.subarray(start, start + pageTokens).join()}`
}

/** Bytes of a page over all layers. */
export function pageBytes({ layers, keyValueHeads, headSize }: ModelConfig, dtype: Dtype): number {
  return (
    layers * keyValueHeads * (headSize + 16 * Math.ceil(headSize / 16)) * pageTokens * (dtype === 'float32' ? 4 : 2)
  )
}
