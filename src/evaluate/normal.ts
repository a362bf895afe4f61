/** Density of the standard normal distribution. */
function density(x: number): number {
  return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI)
}

/** Distribution function of the standard normal, by Marsaglia's series (J. Stat. Software 11(4), 2004); absolute error under 1e-15. */
export function normalDistribution(x: number): number {
  if (Math.abs(x) > 8) return x > 0 ? 1 : 0
  let term = x
  let sum = x
  for (let i = 3; sum + term !== sum; i += 2) {
    term *= (x * x) / i
    sum += term
  }
  return Math.min(1, Math.max(0, 0.5 + sum * density(x)))
}

/** Inverse of `normalDistribution`, by bisection and then Newton's steps; `probability` strictly between 0 and 1. */
export function normalQuantile(probability: number): number {
  if (!(probability > 0 && probability < 1)) {
    throw new RangeError(`a quantile needs a probability between 0 and 1, got ${probability}`)
  }
  let [low, high] = [-8, 8]
  while (high - low > 1e-3) {
    const middle = (low + high) / 2
    if (normalDistribution(middle) < probability) low = middle
    else high = middle
  }
  let x = (low + high) / 2
  for (let i = 0; i < 3; i++) x -= (normalDistribution(x) - probability) / density(x)
  return x
}
