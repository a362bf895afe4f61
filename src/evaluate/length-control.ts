import { type BootstrapOptions, bootstrap } from './bootstrap.ts'
import type { Interval } from './interval.ts'
import type { Comparison } from './win-rate.ts'

/** Prompts below which a fitted curve says nothing. */
const fewest = 20

/**
 * Win rate at equal lengths, after Dubois et al. (arXiv 2404.04475): logistic regression of the points on tanh(length difference / its standard
 * deviation), read off at a difference of 0. The percentile bootstrap gives the interval. null where there are comparisons on fewer than 20 prompts, or all
 * differences are equal.
 */
export function lengthControlledRate(
  comparisons: readonly Comparison[],
  { seed = 0, resamples = 500, clusters }: Pick<BootstrapOptions, 'seed' | 'resamples' | 'clusters'> = {},
): (Interval & { value: number }) | null {
  const differences = comparisons.map(({ candidateLength, baselineLength }) => candidateLength - baselineLength)
  const deviation = standardDeviation(differences)
  const prompts = clusters ? new Set(clusters).size : comparisons.length
  if (prompts < fewest || deviation === 0) return null
  const x = differences.map((difference) => Math.tanh(difference / deviation))
  const y = comparisons.map(({ points }) => points)
  const rate = (indices: readonly number[]) => sigmoid(logisticFit(x, y, indices).intercept)
  return bootstrap(comparisons.length, rate, { seed, resamples, method: 'percentile', ...(clusters && { clusters }) })
}

function standardDeviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x))
}

/** Precision of the normal prior of both coefficients: its deviation of 5 keeps them finite where one side always wins, and else hardly matters. */
const prior = 1 / 25

/** Logistic regression of y in [0, 1] on x by Newton's method, over the rows `indices`. */
export function logisticFit(
  x: readonly number[],
  y: readonly number[],
  indices: readonly number[],
): { intercept: number; slope: number } {
  let [intercept, slope] = [0, 0]
  for (let i = 0; i < 50; i++) {
    let [g0, g1, h00, h01, h11] = [-prior * intercept, -prior * slope, prior, 0, prior]
    for (const row of indices) {
      const p = sigmoid(intercept + slope * x[row]!)
      const weight = p * (1 - p)
      g0 += y[row]! - p
      g1 += (y[row]! - p) * x[row]!
      h00 += weight
      h01 += weight * x[row]!
      h11 += weight * x[row]! ** 2
    }
    const determinant = h00 * h11 - h01 * h01
    const [step0, step1] = [(h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant]
    intercept += step0
    slope += step1
    if (Math.abs(step0) + Math.abs(step1) < 1e-10) break
  }
  return { intercept, slope }
}
