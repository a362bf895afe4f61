/** Reward statistics over judged rows. Means are null where no row is of that kind. */
export interface RewardStatistics {
  /** Mean implicit reward of desirable rows. */
  chosen: number | null
  /** Mean implicit reward of undesirable rows. */
  rejected: number | null
  /** chosen - rejected */
  margin: number | null
  /** Share of rows whose reward lies on its label's side of the reference point; of pairs whose chosen row has the higher reward. Ties count half. */
  accuracy: number
}

export function mean(values: ArrayLike<number>): number | null {
  if (values.length === 0) return null
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum / values.length
}

/** Mean over desirable and over undesirable rows. */
export function meansByLabel(
  values: ArrayLike<number>,
  desirable: readonly boolean[],
): { chosen: number | null; rejected: number | null } {
  const of = (label: boolean) => Array.from(values).filter((_, row) => desirable[row] === label)
  return { chosen: mean(of(true)), rejected: mean(of(false)) }
}

/** `threshold`: the reward of a completion at the reference point, beta z0. `pairs`: positions, where the rows are pairs. */
export function rewardStatistics(
  rewards: ArrayLike<number>,
  desirable: readonly boolean[],
  threshold: number,
  pairs: readonly { chosen: number; rejected: number }[] | null = null,
): RewardStatistics {
  const { chosen, rejected } = meansByLabel(rewards, desirable)
  const distances = pairs
    ? pairs.map((pair) => rewards[pair.chosen]! - rewards[pair.rejected]!)
    : desirable.map((label, row) => (label ? 1 : -1) * (rewards[row]! - threshold))
  const right = distances.reduce((sum, distance) => sum + (distance > 0 ? 1 : distance === 0 ? 0.5 : 0), 0)
  const margin = chosen === null || rejected === null ? null : chosen - rejected
  return { chosen, rejected, margin, accuracy: right / distances.length }
}

/**
 * Area under the ROC curve: how often a desirable row's reward exceeds an undesirable one's, ties counting half (Mann-Whitney U, by mean
 * ranks). null where one class is empty.
 */
export function areaUnderCurve(rewards: ArrayLike<number>, desirable: readonly boolean[]): number | null {
  const order = desirable.map((_, row) => row).sort((a, b) => rewards[a]! - rewards[b]!)
  const positives = desirable.filter(Boolean).length
  const negatives = desirable.length - positives
  if (positives === 0 || negatives === 0) return null
  let rankSum = 0
  for (let start = 0; start < order.length; ) {
    let end = start
    while (end < order.length && rewards[order[end]!] === rewards[order[start]!]) end++
    const meanRank = (start + 1 + end) / 2
    for (let i = start; i < end; i++) if (desirable[order[i]!]) rankSum += meanRank
    start = end
  }
  return (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives)
}

/** A row teaches hardly anything more where the slope of its loss is under this share of the greatest. */
export const saturatedBelow = 0.01

/** Share of rows, or of pairs, that teach hardly anything more. */
export function saturatedShare(
  slope: (z: number) => number,
  rewards: ArrayLike<number>,
  desirable: readonly boolean[],
  threshold: number,
  pairs: readonly { chosen: number; rejected: number }[] | null,
): number {
  const at = pairs
    ? pairs.map(({ chosen, rejected }) => rewards[chosen]! - rewards[rejected]!)
    : desirable.map((label, row) => (label ? 1 : -1) * (rewards[row]! - threshold))
  return at.filter((z) => slope(z) < saturatedBelow).length / at.length
}

/** The lowest reward of one label, its nine deciles, and the highest; empty where no row has the label. */
export function deciles(rewards: ArrayLike<number>, desirable: readonly boolean[], label: boolean): number[] {
  const own = Array.from(rewards).filter((_, row) => desirable[row] === label)
  own.sort((a, b) => a - b)
  return own.length === 0 ? [] : Array.from({ length: 11 }, (_, i) => own[Math.round((i / 10) * (own.length - 1))]!)
}
