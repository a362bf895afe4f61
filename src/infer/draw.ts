import { op } from '../tensor/operators.ts'
import { Tensor } from '../tensor/tensor.ts'

/** The likeliest token of each row of logits [rows, vocabulary]. Throws where they are not finite. */
export function likeliestTokens(logits: Tensor): number[] {
  refuseNonFinite(logits)
  return Array.from(op.argmax(logits, -1).toArray())
}

/** Any lower, and all but the likeliest token have no probability already. */
const lowestTemperature = 1e-6

/**
 * One token drawn from each row of logits, float32 [rows, vocabulary], by inversion of its distribution function: the row's `share`, 0 <= share < 1,
 * decides. Throws where the logits are not finite.
 */
export function drawTokens(
  logits: Tensor,
  { temperature, topP }: { temperature: number; topP: number },
  shares: readonly number[],
): number[] {
  refuseNonFinite(logits)
  const all = op.softmax(logits.div(Math.max(temperature, lowestTemperature)), -1)
  const totals = op.cumsum(topP < 1 ? nucleus(all, topP) : all, -1, 'float64')
  const last = totals.narrow(1, totals.shape[1]! - 1, 1)
  const points = Tensor.from(Float64Array.from(shares), [shares.length, 1]).mul(last)
  return Array.from(op.searchSorted(totals, points, false, true).toArray()) // the first token whose total exceeds the point
}

/**
 * Probabilities [rows, vocabulary] with 0 outside of the nucleus (Holtzman et al., arXiv 1904.09751): the smallest set of the likeliest tokens
 * whose total is at least `topP`. Tokens exactly as likely as the set's last are in it too, so that no order among them decides.
 */
export function nucleus(probabilities: Tensor, topP: number): Tensor {
  const vocabulary = probabilities.shape[1]!
  for (let count = Math.min(256, vocabulary); ; count = Math.min(8 * count, vocabulary)) {
    const [likeliest] = op.topk(probabilities, count, -1) // in falling order; a full sort is rarely needed
    const totals = op.cumsum(likeliest, -1, 'float64')
    const reached = op.geScalar(totals.narrow(1, count - 1, 1), topP)
    if (count < vocabulary && !op.all(reached).item()) continue
    const lastInside = op.ltScalar(totals.narrow(1, 0, count - 1), topP).sum([-1], true) // those before it fall short of topP
    const threshold = op.gather(likeliest, 1, lastInside)
    return probabilities.mul(op.ge(probabilities, threshold))
  }
}

function refuseNonFinite(logits: Tensor): void {
  if (!op.all(op.allFinite(logits)).item())
    throw new Error(
      'the model gives logits that are NaN or infinite: its weights are damaged, or its training diverged',
    )
}
