import { Random } from '../data/random.ts'
import { type Decoder, streamTensors, type Weights } from '../model/decoder.ts'
import { dependsOnLength, ropeRegime } from '../model/frequencies.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { type Layout, PagedCache, pageBytes, pageTokens } from './cache.ts'
import { type Drawn, drawTokens } from './draw.ts'
import type { Sample, SampleOptions } from './sample.ts'

/** A prompt being answered. */
interface Row {
  index: number
  prompt: Int32Array
  reply: number[]
  logps: number[]
  /** Longest reply. */
  limit: number
  random: Random
  finish: Sample['finish'] | null
  end: number | null
  /** Pages of the cache, and how many of the row's tokens are in them. */
  pages: number[]
  cached: number
}

/** Prompt tokens in one pass: few enough that its activations stay small, many enough that reading weights costs little. */
const promptTokensAtOnce = 2048

/**
 * Rows answered together. Each pass extends all rows by a token and reads waiting prompts, as many as there is room for; rows that end leave. Where pages run
 * out, the row that came last waits until others have ended, and is read again.
 */
export class Batch {
  readonly #decoder: Decoder
  readonly #weights: Weights
  readonly #options: SampleOptions
  readonly #waiting: Row[]
  readonly #size: number
  readonly #stop: ReadonlySet<number>
  readonly #cache: PagedCache
  #rows: Row[] = []

  constructor(decoder: Decoder, weights: Weights, prompts: readonly Int32Array[], options: SampleOptions) {
    const { maxTokens, seed = 0, batch = 128, cacheBytes = 2 ** 30, streams } = options
    const dtype = weights.get(decoder.headName)!.dtype
    this.#decoder = decoder
    this.#weights = weights
    this.#options = options
    this.#stop = new Set(options.stop)
    this.#size = batch
    this.#waiting = prompts
      .map((prompt, index): Row => {
        const limit = Math.min(maxTokens, decoder.config.maxPositions - prompt.length)
        const random = new Random('sample', seed, streams?.[index] ?? index)
        return { index, prompt, reply: [], logps: [], limit, random, finish: null, end: null, pages: [], cached: 0 }
      })
      .reverse()
    const mostOfARow = this.#waiting.reduce((most, row) => Math.max(most, pagesFor(longest(row))), 1)
    this.#cache = new PagedCache(
      decoder.config,
      dtype,
      Math.max(mostOfARow, Math.floor(cacheBytes / pageBytes(decoder.config, dtype))),
      decoder.device,
    )
  }

  get busy(): boolean {
    return this.#rows.length + this.#waiting.length > 0
  }

  /** One pass; gives the rows that end with it. */
  advance(): Sample[] {
    this.#makeRoom()
    this.#admit()
    const { layout, tokens, ends } = this.#layout()
    const { tokens: drawn, logps } = scope(() => noGrad(() => this.#pass(layout, tokens, ends)))
    this.#options.onPass?.({ read: tokens.length, drawn: drawn.length })
    for (const [i, row] of this.#rows.entries()) {
      row.cached = lengthOf(row)
      this.#append(row, drawn[i]!, logps[i]!)
    }
    return this.#takeEnded()
  }

  dispose(): void {
    this.#cache.dispose()
  }

  /** A page for each row whose last one is full. Rows that came last give theirs up where there are none. */
  #makeRoom(): void {
    for (let i = 0; i < this.#rows.length; i++) {
      const row = this.#rows[i]!
      while (row.pages.length < pagesFor(lengthOf(row))) {
        const page = this.#cache.take()
        if (page !== null) row.pages.push(page)
        else {
          const last = this.#rows.pop()!
          this.#cache.release(last.pages)
          Object.assign(last, { pages: [], cached: 0 })
          this.#waiting.push(last)
          if (last === row) return
        }
      }
    }
  }

  #admit(): void {
    let tokens = 0
    while (this.#waiting.length > 0 && this.#rows.length < this.#size) {
      const row = this.#waiting.at(-1)!
      const own = ownTokens(row)
      const shared = this.#cache.find(own.subarray(0, -1), this.#kind(row)) // the last token's state is needed, so it is read anyhow
      const cached = shared.length * pageTokens
      const missing = pagesFor(own.length) - shared.length
      // Beside its own pages, one for each row under way: else rows would soon wait for each other.
      const roomInPass = tokens === 0 || tokens + own.length - cached <= promptTokensAtOnce // a longer prompt is read alone
      const fits = this.#cache.free >= missing + this.#rows.length && roomInPass
      if (!fits && this.#rows.length > 0) {
        this.#cache.release(shared)
        return
      }
      row.pages = [...shared, ...Array.from({ length: missing }, () => this.#cache.take()!)]
      row.cached = cached
      this.#cache.remember(row.prompt, this.#kind(row), row.pages)
      tokens += own.length - cached
      this.#rows.push(this.#waiting.pop()!)
    }
  }

  /** Rows whose rotary embeddings go by other lengths share no keys. */
  #kind(row: Row): string {
    const { ropes } = this.#decoder.config
    return ropes.map((rope) => (dependsOnLength(rope) ? ropeRegime(rope, longest(row)) : 0)).join()
  }

  /** All tokens that are not in the cache, row after row; `ends`: where each row's last one is. */
  #layout(): { layout: Layout; tokens: Int32Array; ends: Int32Array } {
    const fresh = this.#rows.map((row) => ownTokens(row, row.cached))
    const total = fresh.reduce((sum, { length }) => sum + length, 0)
    const [tokens, rows, positions] = [new Int32Array(total), new Int32Array(total), new Int32Array(total)]
    const ends = new Int32Array(this.#rows.length)
    let at = 0
    for (const [i, own] of fresh.entries()) {
      tokens.set(own, at)
      rows.fill(i, at, at + own.length)
      for (let j = 0; j < own.length; j++) positions[at + j] = this.#rows[i]!.cached + j
      at += own.length
      ends[i] = at - 1
    }
    return { layout: { pages: this.#rows.map(({ pages }) => pages), rows, positions }, tokens, ends }
  }

  #pass(layout: Layout, tokens: Int32Array, ends: Int32Array): Drawn {
    const { positions } = layout
    const lengths = Int32Array.from(layout.rows, (row) => longest(this.#rows[row]!))
    const { device } = this.#decoder
    const stream = { ...streamTensors({ tokens, positions }, device), rows: { positions, lengths } }
    const states = this.#decoder.hidden(this.#weights, stream, this.#cache.attention(layout))
    const all = ends.length === tokens.length
    const last = all ? states : states.indexSelect(0, Tensor.from(ends, undefined, 'int64', device))
    const shares = this.#rows.map(({ random }) => (this.#options.greedy ? 0 : random.share()))
    const seen = this.#rows.map(({ prompt, reply }) => [prompt, reply])
    return drawTokens(this.#decoder.logits(this.#weights, last), this.#options, shares, seen)
  }

  #append(row: Row, token: number, logp: number): void {
    if (this.#stop.has(token)) {
      Object.assign(row, { finish: 'stop', end: token })
      return
    }
    row.reply.push(token)
    row.logps.push(logp)
    if (this.#options.ended?.(row.reply)) row.finish = 'stop'
    else if (row.reply.length === row.limit) row.finish = 'length'
  }

  #takeEnded(): Sample[] {
    const ended = this.#rows.filter(({ finish }) => finish !== null)
    this.#rows = this.#rows.filter(({ finish }) => finish === null)
    return ended.map(({ index, reply, logps, finish, end, pages }) => {
      this.#cache.release(pages)
      return { index, tokens: Int32Array.from(reply), logps: Float32Array.from(logps), finish: finish!, end }
    })
  }
}

function lengthOf({ prompt, reply }: Row): number {
  return prompt.length + reply.length
}

/** How long a row may become. */
function longest({ prompt, limit }: Row): number {
  return prompt.length + limit
}

function pagesFor(tokens: number): number {
  return Math.ceil(tokens / pageTokens)
}

/** A row's tokens from a position on. */
function ownTokens({ prompt, reply }: Row, from = 0): Int32Array {
  if (from >= prompt.length) return Int32Array.from(reply.slice(from - prompt.length))
  const all = new Int32Array(prompt.length + reply.length)
  all.set(prompt)
  all.set(reply, prompt.length)
  return all.subarray(from)
}
