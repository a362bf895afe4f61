/**
 * Two-sided p-value of the exact sign test: how probable a split of `wins` and `losses` at least this uneven is where both are equally likely. Ties
 * say nothing and are left out by the caller.
 */
export function signTest(wins: number, losses: number): number {
  const total = wins + losses
  const fewer = Math.min(wins, losses)
  if (2 * fewer === total) return 1
  // P(X = fewer), then downwards: C(n, k - 1) = C(n, k) k / (n - k + 1)
  let term = Math.exp(logChoose(total, fewer) - total * Math.LN2)
  let tail = 0
  for (let k = fewer; k >= 0 && term > 0; k--) {
    tail += term
    term *= k / (total - k + 1)
  }
  return Math.min(1, 2 * tail)
}

/** log C(n, k) */
function logChoose(n: number, k: number): number {
  let sum = 0
  for (let i = 1; i <= k; i++) sum += Math.log((n - k + i) / i)
  return sum
}
