import type { StepMetrics } from './run.ts'

/** Something that a user should look at while a run goes on. */
export interface Alarm {
  name: 'both-rewards-fall' | 'z0-stays-0' | 'saturated' | 'length-drift'
  /** What was seen, what it means, and what to do. */
  message: string
}

/** What alarms look at of a step. */
export type Observed = Pick<StepMetrics, 'rewards' | 'kl' | 'saturated'>

/** Replies to the same prompts at two times, in tokens. */
export interface SampledLengths {
  before: readonly number[]
  now: readonly number[]
}

/** Steps that a mean is taken over. */
export const alarmWindow = 10
/** Steps of the past that alarms look at. */
export const alarmMemory = 2 * alarmWindow

/** The alarms that are on after the last of these steps: a pure function of the past, so that a resumed run gives the same ones. */
export function alarmsOf(history: readonly Observed[], lengths: SampledLengths | null): Alarm[] {
  const past = history.slice(-alarmMemory)
  return [bothRewardsFall(past), zeroStays(past), saturated(past), lengthDrift(lengths)].filter(
    (alarm) => alarm !== null,
  )
}

/** The sign of too high a learning rate (arXiv 2402.01306, Section 4.2 and its implementation notes): the policy moves away from all it is shown. */
function bothRewardsFall(past: readonly Observed[]): Alarm | null {
  if (past.length < alarmMemory) return null
  const falls = (of: 'chosen' | 'rejected') => {
    const values = past.map(({ rewards }) => rewards?.[of] ?? null)
    const [before, after] = [values.slice(0, alarmWindow), values.slice(alarmWindow)].map(known)
    return fallen(before!, after!) ? { from: meanOf(before!), to: meanOf(after!) } : null
  }
  const [chosen, rejected] = [falls('chosen'), falls('rejected')]
  if (!chosen || !rejected || chosen.to >= 0) return null
  const seen = `thumbs-up ${short(chosen.from)} -> ${short(chosen.to)}, thumbs-down ${short(rejected.from)} -> ${short(rejected.to)}`
  return {
    name: 'both-rewards-fall',
    message: `the mean rewards of both kinds fall (${seen}): the learning rate is probably too high; try a third of it`,
  }
}

function known(values: readonly (number | null)[]): number[] {
  return values.filter((value) => value !== null)
}

/** Whether the second mean is below the first by more than two standard errors. */
function fallen(before: readonly number[], after: readonly number[]): boolean {
  if (before.length < 3 || after.length < 3) return false
  return meanOf(before) - meanOf(after) > 2 * Math.hypot(errorOf(before), errorOf(after))
}

/** z0 is an estimate of a KL that is clamped at 0: whether its staying there says anything depends on how far below 0 the estimate is. */
function zeroStays(past: readonly Observed[]): Alarm | null {
  const points = past.map(({ kl }) => kl)
  if (points.length < alarmMemory || points.some((point) => !point || point.count === 0 || point.value !== 0))
    return null
  const means = points.map((point) => point!.mean)
  const [mean, error] = [meanOf(means), errorOf(means)]
  const seen = `z0 has been 0 for ${past.length} steps; the mean log-ratio that it is clamped from is ${short(mean)} (standard error ${short(error)})`
  const meaning =
    mean > -2 * error - 1e-3
      ? 'that is 0 within its error, as is expected while the policy is close to the reference'
      : 'it is clearly below 0, so the policy finds unrelated replies less probable than the reference does, and rewards are measured from 0: ' +
        'expected where the data are far from what the model would say; otherwise lower the learning rate'
  return { name: 'z0-stays-0', message: `${seen}: ${meaning}` }
}

function saturated(past: readonly Observed[]): Alarm | null {
  const shares = known(past.slice(-alarmWindow).map((step) => step.saturated ?? null))
  if (shares.length < alarmWindow || meanOf(shares) <= 0.5) return null
  const percent = Math.round(100 * meanOf(shares))
  return {
    name: 'saturated',
    message: `${percent} % of the rows give under 1 % of the greatest gradient: nothing more is learnt from them; a lower --beta lets them count, or stop here`,
  }
}

/** Replies that grow or shrink show that length is what is rewarded. */
function lengthDrift(lengths: SampledLengths | null): Alarm | null {
  if (!lengths || lengths.now.length < 4) return null
  const [before, now] = [meanOf(lengths.before), meanOf(lengths.now)]
  const moved = Math.abs(now - before) > 2 * Math.hypot(errorOf(lengths.before), errorOf(lengths.now))
  const ratio = now / before
  if (!moved || (ratio > 0.8 && ratio < 1.25)) return null
  return {
    name: 'length-drift',
    message: `replies to the fixed prompts have ${short(now)} tokens in the mean, ${short(before)} before training: check whether thumbs follow length in the data`,
  }
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Standard error of the mean. */
function errorOf(values: readonly number[]): number {
  const mean = meanOf(values)
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return values.length > 1 ? Math.sqrt(squares / (values.length - 1) / values.length) : 0
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)))
}
