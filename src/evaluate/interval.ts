/** A share of successes with a 95 % interval. */
export interface Proportion {
  successes: number
  total: number
  share: number
  low: number
  high: number
}

const z = 1.959963984540054 // 97.5 % point of the normal distribution

/** Wilson's score interval (1927): holds its coverage near 0 and 1 and for few trials, where the normal one does not. */
export function wilson(successes: number, total: number): Proportion {
  if (total === 0) return { successes, total, share: 0, low: 0, high: 1 }
  const share = successes / total
  const scale = 1 + z ** 2 / total
  const centre = (share + z ** 2 / (2 * total)) / scale
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / total + z ** 2 / (4 * total ** 2))
  return { successes, total, share, low: Math.max(0, centre - half), high: Math.min(1, centre + half) }
}
