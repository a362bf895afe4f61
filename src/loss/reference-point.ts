import type { ReferencePoint } from './objective.ts'

/** Mean, standard error and count of log-ratios, with the mean as the reference point. 0 where there are none, and the count says so. */
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

/** A reference point that is given rather than estimated. */
export function fixedPoint(value: number): ReferencePoint {
  return { value, mean: value, standardError: 0, count: 0 }
}
