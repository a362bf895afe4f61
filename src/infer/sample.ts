import { setImmediate } from 'node:timers/promises'
import type { ModelConfig } from '../model/config.ts'
import type { Decoder, Weights } from '../model/decoder.ts'
import { Batch } from './batch.ts'
import type { Drawing } from './draw.ts'

export interface SampleOptions extends Drawing {
  /** Longest reply, in tokens. */
  maxTokens: number
  seed?: number
  /** What tells the random streams of prompts apart beside the seed; their indices where it is not given. */
  streams?: readonly (string | number)[]
  /** Token ids that end a reply. */
  stop: readonly number[]
  /** Whether a reply ends with what it has now: for stop strings. */
  ended?: (reply: readonly number[]) => boolean
  /** Most prompts answered at once; 128 where it is not given. It changes the speed, not the replies. */
  batch?: number
  /** Memory of keys and values, in bytes; 1 GB where it is not given. */
  cacheBytes?: number
  /** A prompt that leaves no room for `maxTokens` in the model's context is refused, or its reply is shortened. */
  overflow?: 'refuse' | 'shorten'
  signal?: AbortSignal
  /** Told of the tokens read and drawn by each pass. */
  onPass?: (pass: { read: number; drawn: number }) => void
}

/** The answer to `prompts[index]`. `tokens` are without the stop token. */
export interface Sample {
  index: number
  tokens: Int32Array
  /** The stop token that ended it; null where it ended otherwise. */
  end: number | null
  /** Log-probability of each token under the model, whatever the temperature. */
  logps: Float32Array
  finish: 'stop' | 'length'
}

/**
 * Answers prompts, and yields each answer as it ends. A prompt's tokens are drawn from a random stream of its own, which depends on `seed` and
 * its index (or `streams`) only: so its answer does not depend on what is answered beside it, but for the rounding of the logits. What prompts share at
 * their beginning is computed once. `weights` from Decoder.computeWeights(), unchanged until the last answer. Throws before the first answer where a
 * prompt does not fit, and the signal's reason where it is aborted.
 */
export async function* sample(
  decoder: Decoder,
  weights: Weights,
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
