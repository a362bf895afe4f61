import type { Mismatch } from '../data/plan.ts'
import type { ReferencePoint } from './objective.ts'

/** Mean, standard error as if all were independent, and count of log-ratios, with the mean as the reference point. 0 where there are none, and the count says so. */
export function meanPoint(logRatios: ArrayLike<number>): ReferencePoint {
  const count = logRatios.length
  if (count === 0) return { value: 0, mean: 0, standardError: 0, count }
  const values = Array.from(logRatios)
  const mean = values.reduce((sum, value) => sum + value, 0) / count
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  const standardError = count > 1 ? Math.sqrt(squares / (count - 1) / count) : 0
  return { value: mean, mean, standardError, count }
}

/**
 * z0 of arXiv 2402.01306, Section 4: an estimate of KL(pi_theta || pi_ref) from mismatched completions, never below 0.
 * Where there is none (a data set with a single prompt), z0 is 0 and the count says so.
 */
export function estimateReferencePoint(logRatios: ArrayLike<number>): ReferencePoint {
  const point = meanPoint(logRatios)
  return { ...point, value: Math.max(0, point.mean) }
}

/**
 * The same point with the standard error of a mean over pairs of which many have a row or a completion in common: independent are only pairs that
 * have no example in common. The variance of the mean is E[mean^2] - E[r]^2, and the mean product of two such pairs estimates the latter without bias
 * (the U-statistic's variance; up to its divisor the dyadic one of Aronow, Samii and Assenova, arXiv 1312.3398). By chance it can come out near 0
 * or below, so it is at least that of independent pairs.
 */
export function withSharedError(
  point: ReferencePoint,
  logRatios: ArrayLike<number>,
  pairs: readonly Mismatch[],
): ReferencePoint {
  const examples = new Map<number, Sum>()
  const twos = new Map<string, Sum>()
  for (const [i, { row, partner }] of pairs.entries()) {
    const deviation = logRatios[i]! - point.mean
    for (const example of [row, partner]) add(examples, example, deviation)
    add(twos, `${Math.min(row, partner)} ${Math.max(row, partner)}`, deviation)
  }
  // Of pairs with one example in common each product is in the sum over that example; of pairs with both, in two sums.
  const shared = (of: (sum: Sum) => number) => squares(examples, of) - squares(twos, of)
  const apart = pairs.length ** 2 - shared(({ count }) => count)
  const variance = apart > 0 ? shared(({ total }) => total) / apart : 0
  return { ...point, standardError: Math.max(point.standardError, Math.sqrt(Math.max(0, variance))) }
}

interface Sum {
  total: number
  count: number
}

function add<K>(sums: Map<K, Sum>, key: K, value: number): void {
  const { total, count } = sums.get(key) ?? { total: 0, count: 0 }
  sums.set(key, { total: total + value, count: count + 1 })
}

function squares(sums: ReadonlyMap<unknown, Sum>, of: (sum: Sum) => number): number {
  let all = 0
  for (const sum of sums.values()) all += of(sum) ** 2
  return all
}

/** A reference point that is given rather than estimated. */
export function fixedPoint(value: number): ReferencePoint {
  return { value, mean: value, standardError: 0, count: 0 }
}
