import { Random } from '../data/random.ts'
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
  /** What that error is on average for as many rows of just these probabilities, were they all true: few rows make it large. */
  errorOfCalibrated: number
  /** Mean squared error of the probabilities (Brier 1950). */
  brier: number
}

/**
 * How well probabilities of a thumbs up agree with the thumbs, in bins of equally many rows: bins of equal width would leave most rows of a
 * well-separated model in two of them. Rows of one probability share their thumbs, so that their order does not matter.
 */
export function calibration(probabilities: ArrayLike<number>, labels: readonly boolean[], bins = 10): Calibration {
  const order = labels.map((_, row) => row).sort((a, b) => probabilities[a]! - probabilities[b]!)
  const rising = order.map((row) => probabilities[row]!)
  const observed = sharedWhereTied(
    rising,
    order.map((row) => Number(labels[row])),
  )
  const result = binsOf(rising, observed, bins)
  const squares = labels.reduce((sum, label, row) => sum + (probabilities[row]! - Number(label)) ** 2, 0)
  return {
    bins: result,
    expectedError: errorOf(result),
    errorOfCalibrated: errorOfCalibrated(rising, bins),
    brier: order.length === 0 ? 0 : squares / order.length,
  }
}

/** Each value, or the mean of the values of all rows with the same probability. */
function sharedWhereTied(rising: readonly number[], values: readonly number[]): number[] {
  const shared: number[] = []
  for (let start = 0; start < rising.length; ) {
    let end = start
    let sum = 0
    for (; end < rising.length && rising[end] === rising[start]; end++) sum += values[end]!
    for (let i = start; i < end; i++) shared.push(sum / (end - start))
    start = end
  }
  return shared
}

function binsOf(rising: readonly number[], observed: readonly number[], bins: number): ReliabilityBin[] {
  const count = Math.min(bins, rising.length)
  const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0)
  return Array.from({ length: count }, (_, bin) => {
    const [start, end] = [bin, bin + 1].map((edge) => Math.floor((edge * rising.length) / count))
    const predicted = sumOf(rising.slice(start, end)) / (end! - start!)
    return { predicted, ...wilson(sumOf(observed.slice(start, end)), end! - start!) }
  })
}

function errorOf(bins: readonly ReliabilityBin[]): number {
  const rows = bins.reduce((sum, { total }) => sum + total, 0)
  return rows === 0 ? 0 : bins.reduce((sum, bin) => sum + Math.abs(bin.predicted - bin.share) * bin.total, 0) / rows
}

/** Mean error of thumbs that are drawn with just these probabilities. */
function errorOfCalibrated(rising: readonly number[], bins: number): number {
  const draws = Math.max(10, Math.min(200, Math.floor(500_000 / Math.max(1, rising.length))))
  const random = new Random('calibration')
  let sum = 0
  for (let draw = 0; draw < draws; draw++) {
    const thumbs = rising.map((probability) => Number(random.share() < probability))
    sum += errorOf(binsOf(rising, sharedWhereTied(rising, thumbs), bins))
  }
  return sum / draws
}
