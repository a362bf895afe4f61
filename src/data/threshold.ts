import type { ThresholdSpec, Verdict } from '../options/feedback-syntax.ts'

export { parseThreshold, type ThresholdSpec } from '../options/feedback-syntax.ts'

/** What a score says. `scores` are all scores of the data; only those kinds that are drawn from them look at it. */
export function thresholdOf(spec: ThresholdSpec, scores: Float64Array): (score: number) => Verdict {
  if (spec.kind === 'number') return (score) => score >= spec.value
  if (scores.length === 0) throw new Error(`--threshold ${spec.kind}: the data has no scores`)
  if (spec.kind === 'mean') {
    const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length
    return (score) => score >= mean
  }
  const sorted = scores.slice().sort()
  if (spec.kind === 'median') {
    const middle = sorted[Math.floor(sorted.length / 2)]!
    const median = sorted.length % 2 === 1 ? middle : (middle + sorted[sorted.length / 2 - 1]!) / 2
    return (score) => score >= median
  }
  const [low, high] = [quantile(sorted, spec.share), quantile(sorted, 1 - spec.share)]
  if (low >= high)
    throw new Error(`--threshold quantiles:${spec.share}: the top and the bottom of the scores are both ${low}`)
  return (score) => (score >= high ? true : score <= low ? false : 'skip')
}

function quantile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))]!
}
