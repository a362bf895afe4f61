import { type Proportion, wilson } from './interval.ts'

/** Rows of similar predicted probability: what was predicted, and what the thumbs said. */
export interface ReliabilityBin extends Proportion {
  /** Mean predicted probability. */
  predicted: number
}

export interface Calibration {
  bins: ReliabilityBin[]
  /** Expected calibration error: mean |predicted - observed| over the bins, weighted by their rows (Naeini et al. 2015). */
  expectedError: number
  /** Mean squared error of the probabilities (Brier 1950). */
  brier: number
}

/**
 * How well probabilities of a thumbs up agree with the thumbs, in bins of equally many rows: bins of equal width would leave most rows of a
 * well-separated model in two of them.
 */
export function calibration(probabilities: ArrayLike<number>, labels: readonly boolean[], bins = 10): Calibration {
  const order = labels.map((_, row) => row).sort((a, b) => probabilities[a]! - probabilities[b]!)
  const count = Math.min(bins, order.length)
  const result = Array.from({ length: count }, (_, bin) => {
    const start = Math.floor((bin * order.length) / count)
    const rows = order.slice(start, Math.floor(((bin + 1) * order.length) / count))
    const predicted = rows.reduce((sum, row) => sum + probabilities[row]!, 0) / rows.length
    return { predicted, ...wilson(rows.filter((row) => labels[row]).length, rows.length) }
  })
  const squares = labels.reduce((sum, label, row) => sum + (probabilities[row]! - Number(label)) ** 2, 0)
  const errors = result.reduce((sum, bin) => sum + Math.abs(bin.predicted - bin.share) * bin.total, 0)
  return {
    bins: result,
    expectedError: order.length === 0 ? 0 : errors / order.length,
    brier: order.length === 0 ? 0 : squares / order.length,
  }
}
