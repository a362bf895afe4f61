import { Random } from '../data/random.ts'
import type { Interval } from './interval.ts'
import { normalDistribution, normalQuantile } from './normal.ts'

export interface BootstrapOptions {
  /** Probability that the interval covers the truth. */
  level?: number
  resamples?: number
  seed?: number
  /** Percentile, or bias-corrected and accelerated (BCa), which mends skewed statistics. */
  method?: 'percentile' | 'bca'
  /** Which cluster each observation belongs to, by its index: whole clusters are drawn, since rows of one prompt are not independent. */
  clusters?: readonly (string | number)[]
}

/**
 * Bootstrap interval (Efron 1987) of a statistic of `count` observations, which is given the indices drawn. Resamples on which the statistic is not
 * finite (an empty class, say) are left out. Throws a RangeError where there is nothing to draw from.
 */
export function bootstrap(
  count: number,
  statistic: (indices: readonly number[]) => number,
  { level = 0.95, resamples = 2000, seed = 0, method = 'bca', clusters }: BootstrapOptions = {},
): Interval & { value: number } {
  if (count === 0) throw new RangeError('a bootstrap needs observations, got none')
  const groups = grouped(count, clusters)
  const all = groups.flat()
  const value = statistic(all)
  const drawn = resampled(groups, statistic, resamples, seed)
  if (drawn.length === 0) return { value, low: Number.NaN, high: Number.NaN }
  const tail = (1 - level) / 2
  const [low, high] = method === 'bca' ? correctedTails(groups, statistic, drawn, value, tail) : [tail, 1 - tail]
  return { value, low: quantile(drawn, low), high: quantile(drawn, high) }
}

function grouped(count: number, clusters?: readonly (string | number)[]): number[][] {
  if (!clusters) return Array.from({ length: count }, (_, i) => [i])
  const groups = new Map<string | number, number[]>()
  for (let i = 0; i < count; i++) {
    const group = groups.get(clusters[i]!)
    if (group) group.push(i)
    else groups.set(clusters[i]!, [i])
  }
  return [...groups.values()]
}

/** The statistic of every resample, in rising order. */
function resampled(
  groups: readonly number[][],
  statistic: (indices: readonly number[]) => number,
  resamples: number,
  seed: number,
): Float64Array {
  const random = new Random('bootstrap', seed)
  const values: number[] = []
  for (let i = 0; i < resamples; i++) {
    const indices: number[] = []
    for (let draw = 0; draw < groups.length; draw++) for (const index of random.pick(groups)) indices.push(index)
    const value = statistic(indices)
    if (Number.isFinite(value)) values.push(value)
  }
  return Float64Array.from(values).sort()
}

/** Which tails of the resamples BCa takes: for a bias z0 (share of resamples below the value) and an acceleration from the jackknife. */
function correctedTails(
  groups: readonly number[][],
  statistic: (indices: readonly number[]) => number,
  drawn: Float64Array,
  value: number,
  tail: number,
): [number, number] {
  let below = 0
  for (const other of drawn) below += other < value ? 1 : other === value ? 0.5 : 0
  // A statistic at the edge of what it can be has all resamples on one side: no correction can be estimated.
  if (below === 0 || below === drawn.length) return [tail, 1 - tail]
  const bias = normalQuantile(below / drawn.length)
  const acceleration = jackknifeAcceleration(groups, statistic)
  const corrected = (probability: number) => {
    const shifted = bias + normalQuantile(probability)
    return normalDistribution(bias + shifted / (1 - acceleration * shifted))
  }
  return [corrected(tail), corrected(1 - tail)]
}

/** Leaves groups out in at most this many parts: with more, the acceleration hardly changes and the time grows with the square. */
const mostParts = 500

function jackknifeAcceleration(groups: readonly number[][], statistic: (indices: readonly number[]) => number): number {
  const parts = Math.min(groups.length, mostParts)
  const left = Array.from({ length: parts }, (_, part) =>
    statistic(groups.flatMap((group, i) => (i % parts === part ? [] : group))),
  ).filter(Number.isFinite)
  const mean = left.reduce((sum, value) => sum + value, 0) / left.length
  let [squares, cubes] = [0, 0]
  for (const value of left) {
    squares += (mean - value) ** 2
    cubes += (mean - value) ** 3
  }
  return squares === 0 ? 0 : cubes / (6 * squares ** 1.5)
}

/** By linear interpolation between the two nearest (type 7 of Hyndman & Fan). */
export function quantile(rising: ArrayLike<number>, share: number): number {
  const position = share * (rising.length - 1)
  const lower = Math.floor(position)
  const upper = Math.min(rising.length - 1, lower + 1)
  return rising[lower]! + (position - lower) * (rising[upper]! - rising[lower]!)
}
