import { bootstrap } from './bootstrap.ts'
import { type Interval, meanInterval, type Proportion, wilson } from './interval.ts'
import { lengthControlledRate } from './length-control.ts'
import { signTest } from './sign-test.ts'

/** One prompt on which two replies were compared. `points`: 1 where the candidate won, 0 where it lost, 0.5 for a tie; means of several judgements lie between. */
export interface Comparison {
  points: number
  /** Lengths of the replies, in characters. */
  candidateLength: number
  baselineLength: number
  /** What is the same for comparisons that are not independent, as those on one prompt; each stands for itself where it is left out. */
  prompt?: string
}

/** What comparisons say about the candidate; intervals are of 95 %. */
export interface WinRate {
  comparisons: number
  wins: number
  ties: number
  losses: number
  /** Mean over prompts of their mean points: ties count half. BCa bootstrap interval; Student's for under ten prompts, Wilson's where all means are equal. */
  rate: Interval & { value: number }
  /** Wins among the prompts that are no ties, by the mean of their points, with Wilson's interval. */
  decided: Proportion
  /** p-value of the two-sided exact sign test over these prompts. */
  signTest: number
  /** What the rate would be were both replies equally long; null with too few comparisons or lengths that do not differ. */
  lengthControlled: (Interval & { value: number }) | null
  byLength: LengthBucket[]
  verdict: Verdict
}

export interface LengthBucket {
  bucket: 'shorter' | 'similar' | 'longer'
  comparisons: number
  wins: number
  ties: number
  losses: number
  /** Mean points; null in an empty bucket. */
  rate: number | null
}

/** By the sign test, at p < 0.05. */
export type Verdict = 'better' | 'no evidence' | 'worse'

/** All that comparisons say about the candidate. */
export function winRate(comparisons: readonly Comparison[], { seed = 0 } = {}): WinRate {
  const clusters = comparisons.map(({ prompt }, i) => prompt ?? i)
  const means = promptMeans(comparisons, clusters)
  const prompts = countsOf(means)
  const p = signTest(prompts.wins, prompts.losses)
  return {
    comparisons: comparisons.length,
    ...countsOf(comparisons),
    rate: rateOf(means, seed),
    decided: wilson(prompts.wins, prompts.wins + prompts.losses),
    signTest: p,
    lengthControlled: lengthControlledRate(comparisons, { seed, clusters }),
    byLength: byLength(comparisons),
    verdict: verdictOf(prompts, p),
  }
}

/** With fewer prompts the bootstrap's intervals are too narrow. */
const fewestToResample = 10

function rateOf(prompts: readonly Pick<Comparison, 'points'>[], seed: number): WinRate['rate'] {
  if (prompts.length === 0) return { value: 0.5, low: 0, high: 1 }
  const value = meanPoints(prompts)
  if (prompts.every(({ points }) => points === prompts[0]!.points)) {
    // Resamples would all be alike, and say nothing of what was not drawn.
    const { low, high } = wilson(value * prompts.length, prompts.length)
    return { value, low, high }
  }
  if (prompts.length < fewestToResample) {
    const { low, high } = meanInterval(prompts.map(({ points }) => points))
    return { value, low: Math.max(0, low), high: Math.min(1, high) }
  }
  return bootstrap(prompts.length, (indices) => meanPoints(indices.map((i) => prompts[i]!)), { seed })
}

/** Mean points of each prompt. */
function promptMeans(
  comparisons: readonly Comparison[],
  clusters: readonly (string | number)[],
): Pick<Comparison, 'points'>[] {
  const groups = new Map<string | number, Comparison[]>()
  for (const [i, comparison] of comparisons.entries())
    groups.set(clusters[i]!, [...(groups.get(clusters[i]!) ?? []), comparison])
  return [...groups.values()].map((group) => ({ points: meanPoints(group) }))
}

function countsOf(comparisons: readonly Pick<Comparison, 'points'>[]): { wins: number; ties: number; losses: number } {
  const wins = comparisons.filter(({ points }) => points > 0.5).length
  const losses = comparisons.filter(({ points }) => points < 0.5).length
  return { wins, losses, ties: comparisons.length - wins - losses }
}

function meanPoints(comparisons: readonly Pick<Comparison, 'points'>[]): number {
  return comparisons.reduce((sum, { points }) => sum + points, 0) / comparisons.length
}

/** Better or worse only where chance would give so uneven a split less than once in twenty. */
export function verdictOf({ wins, losses }: { wins: number; losses: number }, p: number): Verdict {
  if (p >= 0.05) return 'no evidence'
  return wins > losses ? 'better' : 'worse'
}

/** By how the candidate's reply compares in length: over 10 % shorter or longer than the baseline's, or similar. */
function byLength(comparisons: readonly Comparison[]): LengthBucket[] {
  const bucketOf = ({ candidateLength, baselineLength }: Comparison): LengthBucket['bucket'] => {
    if (candidateLength < 0.9 * baselineLength) return 'shorter'
    return candidateLength > 1.1 * baselineLength ? 'longer' : 'similar'
  }
  return (['shorter', 'similar', 'longer'] as const).map((bucket) => {
    const members = comparisons.filter((comparison) => bucketOf(comparison) === bucket)
    const rate = members.length === 0 ? null : meanPoints(members)
    return { bucket, comparisons: members.length, ...countsOf(members), rate }
  })
}
