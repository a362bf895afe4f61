import { op } from '../tensor/operators.ts'
import { Tensor } from '../tensor/tensor.ts'

/** How tokens are drawn. What is left out changes nothing. */
export interface Drawing {
  /** Take the likeliest token always. */
  greedy?: boolean
  /** Divides the logits; 1 where it is not given. */
  temperature?: number
  /** Draw from so many likeliest tokens; 0: from all. */
  topK?: number
  /** Of these, from the fewest that hold this share of their probability. */
  topP?: number
  /** Of these, from those at least so many times as likely as the likeliest. */
  minP?: number
  /** Divides the positive and multiplies the negative logits of tokens that the row has already. */
  repetitionPenalty?: number
}

export interface Drawn {
  tokens: number[]
  /** Log-probability of each token under the model itself: before penalty, temperature and truncation. */
  logps: number[]
}

/** Any lower, and all but the likeliest token have no probability already. */
const lowestTemperature = 1e-6

/**
 * One token for each row of logits, float32 [rows, vocabulary], by inversion of its distribution function at the row's share, 0 <= share < 1 (unused where
 * greedy). `seen`: the tokens that each row has, for the penalty. Throws where the logits are not finite.
 */
export function drawTokens(
  logits: Tensor,
  { greedy = false, temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 }: Drawing,
  shares: readonly number[],
  seen: readonly (readonly ArrayLike<number>[])[] = [],
): Drawn {
  const { tokens, ends } = repetitionPenalty === 1 ? { tokens: new Int32Array(), ends: new Int32Array() } : flat(seen)
  const [drawn, logps] = op.drawTokens(
    logits,
    Tensor.from(Float64Array.from(shares)),
    Tensor.from(tokens),
    Tensor.from(ends),
    greedy ? 0 : Math.max(lowestTemperature, temperature),
    topK,
    topP,
    minP,
    repetitionPenalty,
  )
  return { tokens: Array.from(drawn.toArray()), logps: Array.from(logps.toArray()) }
}

function flat(seen: readonly (readonly ArrayLike<number>[])[]): { tokens: Int32Array; ends: Int32Array } {
  const rows = seen.map((parts) => new Set(parts.flatMap((part) => Array.from(part))))
  let end = 0
  const ends = Int32Array.from(rows, (row) => {
    end += row.size
    return end
  })
  return { tokens: Int32Array.from(rows.flatMap((row) => [...row])), ends }
}
