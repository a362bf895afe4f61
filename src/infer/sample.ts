import { setImmediate } from 'node:timers/promises'
import { Random } from '../data/random.ts'
import type { Attention, Segment } from '../model/attention.ts'
import type { ModelConfig } from '../model/config.ts'
import { type Decoder, type Parameters, streamTensors } from '../model/decoder.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import { cacheBytes, KeyValueCache, type Place } from './cache.ts'
import { drawTokens, likeliestTokens } from './draw.ts'

export interface SampleOptions {
  /** Longest reply, in tokens. */
  maxTokens: number
  /** Divides the logits; 1 where it is not given. */
  temperature?: number
  /** Draw from the likeliest tokens that hold this share together; 1 where it is not given. */
  topP?: number
  /** Take the likeliest token always. */
  greedy?: boolean
  seed?: number
  /** Token ids that end a reply. */
  stop: readonly number[]
  /** Most prompts answered at once; 128, or fewer where their cache would pass 1 GB, if it is not given. It changes the speed, not the replies. */
  batch?: number
  /** A prompt that leaves no room for `maxTokens` in the model's context is refused, or its reply is shortened. */
  overflow?: 'refuse' | 'shorten'
  signal?: AbortSignal
}

/** The answer to `prompts[index]`. `tokens` are without the stop token. */
export interface Sample {
  index: number
  tokens: Int32Array
  finish: 'stop' | 'length'
}

/**
 * Answers prompts, and yields each answer as it ends. A prompt's tokens are drawn from a random stream of its own, which depends on `seed` and
 * its index only: so its answer does not depend on what is answered beside it, but for the rounding of the logits. `weights` from
 * Decoder.computeWeights(), unchanged until the last answer. Throws before the first answer where a prompt does not fit, and the signal's reason
 * where it is aborted.
 */
export async function* sample(
  decoder: Decoder,
  weights: Parameters,
  prompts: readonly Int32Array[],
  options: SampleOptions,
): AsyncGenerator<Sample> {
  for (const [index, prompt] of prompts.entries()) {
    const problem = promptProblem(prompt, decoder.config, options)
    if (problem) throw new Error(`prompt ${index} ${problem}`)
  }
  const batch = new Batch(decoder, weights, prompts, options)
  try {
    while (batch.busy) {
      options.signal?.throwIfAborted()
      yield* batch.advance()
      await setImmediate() // lets signals, timers and servers have their turn
    }
  } finally {
    batch.dispose()
  }
}

/** Why a prompt cannot be answered, as the end of a sentence that starts with its name; null where it can be. */
export function promptProblem(
  prompt: Int32Array,
  { maxPositions }: ModelConfig,
  { maxTokens, overflow = 'refuse' }: Pick<SampleOptions, 'maxTokens' | 'overflow'>,
): string | null {
  const tokens = prompt.length
  const room = maxPositions - tokens
  if (tokens === 0) return 'has no tokens: a reply needs at least one to start from'
  if (room < 1) return `has ${tokens} tokens, but the model sees ${maxPositions} at most: shorten it`
  if (room >= maxTokens || overflow === 'shorten') return null
  return (
    `has ${tokens} tokens, which leaves ${room} of the model's ${maxPositions} for the reply, and the longest reply is ` +
    `${maxTokens}: shorten the prompt, or lower the longest reply (--max-tokens) to ${room}`
  )
}

/** A prompt being answered. */
interface Row {
  index: number
  prompt: Int32Array
  reply: number[]
  limit: number
  random: Random
  finish: Sample['finish'] | null
}

/** As many rows as their cache's memory allows, should all become as long as they can. */
function defaultBatch(config: ModelConfig, dtype: Dtype, prompts: readonly Int32Array[], maxTokens: number): number {
  const longest = prompts.reduce((most, { length }) => Math.max(most, length), 0) + maxTokens
  return Math.max(1, Math.min(128, Math.floor(2 ** 30 / cacheBytes(config, dtype, longest))))
}

/** Prompt tokens in one pass: few enough that its activations stay small, many enough that reading weights costs little. */
const promptTokensAtOnce = 4096

/** Rows answered together, row i in slot i of the cache. Rows that end leave, and waiting prompts take their places. */
class Batch {
  readonly #decoder: Decoder
  readonly #weights: Parameters
  readonly #options: SampleOptions
  readonly #waiting: Row[]
  readonly #size: number
  readonly #stop: ReadonlySet<number>
  readonly #cache: KeyValueCache
  #rows: Row[] = []

  constructor(decoder: Decoder, weights: Parameters, prompts: readonly Int32Array[], options: SampleOptions) {
    const { maxTokens, seed = 0 } = options
    const dtype = weights.get(decoder.headName)!.dtype
    const { batch = defaultBatch(decoder.config, dtype, prompts, maxTokens) } = options
    this.#decoder = decoder
    this.#weights = weights
    this.#options = options
    this.#stop = new Set(options.stop)
    this.#size = Math.min(batch, prompts.length)
    this.#cache = new KeyValueCache(decoder.config, this.#size, dtype)
    this.#waiting = prompts
      .map((prompt, index) => {
        const limit = Math.min(maxTokens, decoder.config.maxPositions - prompt.length)
        const random = new Random('sample', seed, index)
        return { index, prompt, reply: [], limit, random, finish: null }
      })
      .reverse()
  }

  get busy(): boolean {
    return this.#rows.length + this.#waiting.length > 0
  }

  /** Reads some waiting prompts, or extends all rows by a token; gives the rows that end with it. */
  advance(): Sample[] {
    // A pass over prompts holds up all rows, so it waits until some prompts can be read together.
    const enough = this.#rows.length === 0 || this.#size - this.#rows.length >= this.#size / 4
    if (this.#waiting.length > 0 && enough) this.#readPrompts()
    else this.#extend()
    return this.#takeEnded()
  }

  dispose(): void {
    this.#cache.dispose()
  }

  #readPrompts(): void {
    const entering = this.#entering()
    const prompts = entering.map(({ prompt }) => prompt)
    const { tokens, places, segments } = inOneStream(prompts, this.#rows.length)
    const ends = Int32Array.from(segments, ({ start, length }) => start + length - 1)
    this.#rows.push(...entering)
    this.#cache.reserve(Math.max(...prompts.map(({ length }) => length)))
    this.#appendNext(entering, () => {
      const states = this.#states(tokens, places, this.#cache.readPrompts(segments, places))
      return states.indexSelect(0, Tensor.from(ends).to('int64'))
    })
  }

  /** Takes the waiting prompts that have a free slot and fit one pass; at least one. */
  #entering(): Row[] {
    const entering: Row[] = []
    let tokens = 0
    while (this.#waiting.length > 0 && this.#rows.length + entering.length < this.#size) {
      tokens += this.#waiting.at(-1)!.prompt.length
      if (entering.length > 0 && tokens > promptTokensAtOnce) break
      entering.push(this.#waiting.pop()!)
    }
    return entering
  }

  #extend(): void {
    const places = this.#rows.map(({ prompt, reply }, slot) => ({ slot, position: prompt.length + reply.length - 1 }))
    const tokens = Int32Array.from(this.#rows, ({ reply }) => reply.at(-1)!)
    this.#cache.reserve(1 + Math.max(...places.map(({ position }) => position)))
    this.#appendNext(this.#rows, () => this.#states(tokens, places, this.#cache.extendRows(places)))
  }

  /** The model's hidden states, [tokens, hiddenSize]. */
  #states(tokens: Int32Array, places: readonly Place[], attention: Attention): Tensor {
    const positions = Int32Array.from(places, ({ position }) => position)
    const lengths = Int32Array.from(places, ({ slot }) => this.#rows[slot]!.prompt.length + this.#rows[slot]!.limit)
    const stream = { ...streamTensors({ tokens, positions }), rows: { positions, lengths } }
    return this.#decoder.hidden(this.#weights, stream, attention)
  }

  /** Gives each row its next token, by the hidden state of its last, [rows, hiddenSize]. */
  #appendNext(rows: readonly Row[], lastStates: () => Tensor): void {
    const chosen = scope(() => noGrad(() => this.#choose(rows, this.#decoder.logits(this.#weights, lastStates()))))
    for (const [i, row] of rows.entries()) this.#append(row, chosen[i]!)
  }

  #choose(rows: readonly Row[], logits: Tensor): number[] {
    const { greedy = false, temperature = 1, topP = 1 } = this.#options
    if (greedy) return likeliestTokens(logits)
    return drawTokens(
      logits,
      { temperature, topP },
      rows.map(({ random }) => random.share()),
    )
  }

  #append(row: Row, token: number): void {
    if (this.#stop.has(token)) {
      row.finish = 'stop'
      return
    }
    row.reply.push(token)
    if (row.reply.length === row.limit) row.finish = 'length'
  }

  /** The last row takes the place of one that ends, so that the rows stay the first slots. */
  #takeEnded(): Sample[] {
    const ended: Sample[] = []
    for (let slot = this.#rows.length - 1; slot >= 0; slot--) {
      const { index, reply, finish } = this.#rows[slot]!
      if (finish === null) continue
      ended.push({ index, tokens: Int32Array.from(reply), finish })
      const last = this.#rows.pop()!
      if (slot === this.#rows.length) continue
      this.#cache.move(this.#rows.length, slot, last.prompt.length + last.reply.length - 1)
      this.#rows[slot] = last
    }
    return ended.reverse()
  }
}

/** Prompts one after the other without padding; they get the slots from `firstSlot` on. */
function inOneStream(prompts: readonly Int32Array[], firstSlot: number) {
  const tokens = new Int32Array(prompts.reduce((sum, { length }) => sum + length, 0))
  const places: Place[] = []
  const segments: Segment[] = []
  for (const [i, prompt] of prompts.entries()) {
    segments.push({ start: places.length, length: prompt.length, parent: -1 })
    tokens.set(prompt, places.length)
    for (let position = 0; position < prompt.length; position++) places.push({ slot: firstSlot + i, position })
  }
  return { tokens, places, segments }
}
