import { areaUnderCurve } from '../train/rewards.ts'
import { type Interval, z } from './interval.ts'

export interface AreaUnderCurve extends Interval {
  area: number
  desirable: number
  undesirable: number
}

/**
 * Area under the ROC curve with a 95 % interval: Newcombe's method 5 (Statistics in Medicine 25, 2006, part 2), the values that the observed area does
 * not reject. It keeps to [0, 1] and holds its coverage where classes are small or far apart. `share` as for areaInterval. null where one class is empty.
 */
export function areaWithInterval(
  rewards: ArrayLike<number>,
  labels: readonly boolean[],
  share = 1,
): AreaUnderCurve | null {
  const area = areaUnderCurve(rewards, labels)
  if (area === null) return null
  const desirable = labels.filter(Boolean).length
  return areaInterval(area, desirable, labels.length - desirable, share)
}

/**
 * The same where only the area and the sizes of the classes are known. `share`: how many of them are independent, of 1, where several rows answer one
 * prompt: as many as there are prompts makes the interval wide enough.
 */
export function areaInterval(area: number, desirable: number, undesirable: number, share = 1): AreaUnderCurve {
  const effective = Math.min(1, share)
  const rejected = (candidate: number) =>
    Math.abs(candidate - area) > z * deviation(candidate, effective * desirable, effective * undesirable)
  return {
    area,
    desirable,
    undesirable,
    low: edge(area, 0, rejected),
    high: edge(area, 1, rejected),
  }
}

/** Standard deviation of the area where it is truly `area`: Hanley and McNeil's (1982), with the mean of both class sizes. */
function deviation(area: number, m: number, n: number): number {
  const extra = (m + n) / 2 - 1
  const factor = 1 + extra * ((1 - area) / (2 - area) + area / (1 + area))
  return Math.sqrt((area * (1 - area) * factor) / (m * n))
}

/** Where between `inside` and `outside` the rejection begins, by bisection. */
function edge(inside: number, outside: number, rejected: (candidate: number) => boolean): number {
  if (!rejected(outside)) return outside
  let [accepted, refused] = [inside, outside]
  for (let i = 0; i < 60; i++) {
    const middle = (accepted + refused) / 2
    if (rejected(middle)) refused = middle
    else accepted = middle
  }
  return accepted
}
