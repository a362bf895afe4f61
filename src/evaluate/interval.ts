/** A 95 % interval unless said otherwise. */
export interface Interval {
  low: number
  high: number
}

/** A share of successes with a 95 % interval. */
export interface Proportion extends Interval {
  successes: number
  total: number
  share: number
}

export const z = 1.959963984540054 // 97.5 % point of the normal distribution

/** Wilson's score interval (1927): holds its coverage near 0 and 1 and for few trials, where the normal one does not. */
export function wilson(successes: number, total: number): Proportion {
  if (total === 0) return { successes, total, share: 0, low: 0, high: 1 }
  const share = successes / total
  const scale = 1 + z ** 2 / total
  const centre = (share + z ** 2 / (2 * total)) / scale
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / total + z ** 2 / (4 * total ** 2))
  return { successes, total, share, low: Math.max(0, centre - half), high: Math.min(1, centre + half) }
}

/**
 * The share that points from 0 to 1 come to. Rows of one prompt are not independent: Wilson's interval counts as many as there are `prompts`, which makes it
 * wide enough.
 */
export function shareOverPrompts(points: readonly number[], prompts: number): Proportion {
  const successes = points.reduce((sum, point) => sum + point, 0)
  const share = points.length === 0 ? 0 : successes / points.length
  const { low, high } = wilson(share * prompts, prompts)
  return { successes, total: points.length, share, low, high }
}

/** Mean with a 95 % interval by Student's t (of `values` seen as a sample of independent ones); the interval is open where there is one value. */
export function meanInterval(values: readonly number[]): Interval & { mean: number } {
  const count = values.length
  const mean = values.reduce((sum, value) => sum + value, 0) / count
  if (count < 2) return { mean, low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY }
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1)
  const half = studentQuantile(count - 1) * Math.sqrt(variance / count)
  return { mean, low: mean - half, high: mean + half }
}

/** The 97.5 % point of Student's t: a table up to 9 degrees of freedom, then Cornish and Fisher's expansion (error under 1e-4). */
function studentQuantile(degrees: number): number {
  const table = [12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.306, 2.26216]
  const known = table[degrees - 1]
  if (known !== undefined) return known
  const [g1, g2, g3] = [
    (z ** 3 + z) / 4,
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96,
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384,
  ]
  return z + g1 / degrees + g2 / degrees ** 2 + g3 / degrees ** 3
}
