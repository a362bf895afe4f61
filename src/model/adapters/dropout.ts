import { type Device, Tensor } from '../../tensor/tensor.ts'
import type { Segment } from '../attention.ts'

/** What the dropout masks of a pass are a function of. */
export interface DropoutKeys {
  /** One number a token, int64 [tokens]. */
  tokens: Tensor
  /** The seed of a module's mask. */
  seedOf(module: string): number
}

/**
 * Keys of a stream's tokens: a hash of the token and all tokens that it sees. So a row's mask does not depend on the micro-batch it is in, on
 * what is packed beside it, or on whether its prompt is shared. `seed`: a whole number below 2^31, another one for each step.
 */
export function dropoutKeys(
  { tokens, segments }: { tokens: Int32Array; segments: readonly Segment[] },
  seed: number,
  device: Device,
): DropoutKeys {
  const low = new Int32Array(tokens.length)
  const high = new Int32Array(tokens.length)
  for (const { start, length, parent } of segments) {
    const before = segments[parent]
    let previous = before ? before.start + before.length - 1 : -1
    for (let token = start; token < start + length; token++) {
      low[token] = chained(previous < 0 ? 0x2545f491 : low[previous]!, tokens[token]!)
      high[token] = chained(previous < 0 ? 0x5851f42d : high[previous]!, tokens[token]! ^ 0x3c6ef372)
      previous = token
    }
  }
  const halves = new Int32Array(2 * tokens.length)
  for (let token = 0; token < tokens.length; token++) {
    halves[2 * token] = low[token]!
    halves[2 * token + 1] = high[token]!
  }
  const keys = Tensor.from(new BigInt64Array(halves.buffer), [tokens.length], 'int64', device)
  return { tokens: keys, seedOf: (module) => seed * 2 ** 20 + (hashText(module) >>> 12) }
}

/** MurmurHash3's mixing of one word into a running hash (Appleby, 2011). */
function chained(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51)
  k = (k << 15) | (k >>> 17)
  const h = hash ^ Math.imul(k, 0x1b873593)
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0
}

/** FNV-1a, 32 bits. */
function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash
}
