import type { Origin } from '../data/types.ts'
import { mean, saturatedBelow } from '../train/rewards.ts'
import { type Calibration, calibration } from './calibration.ts'
import { type AreaUnderCurve, areaWithInterval } from './curve.ts'
import { type Interval, meanInterval, type Proportion, shareOverPrompts } from './interval.ts'

/** A judged row under both models. */
export interface ScoredRow {
  origin: Origin
  desirable: boolean
  /** Summed log-probabilities of its completion. */
  policy: number
  reference: number
}

/** A row that somebody should look at. `reward`: beta (policy - reference); `probability`: sigmoid(reward - beta z0), of a thumbs up. */
export interface ListedRow extends ScoredRow {
  reward: number
  probability: number
}

/** What a limit of length took off the rows. */
export interface CutRows {
  maxLength: number
  prompts: number
  completions: number
}

/** What `rewards.json` holds; intervals are of 95 %. */
export interface RewardReport {
  rows: number
  desirable: number
  /** Rows of which only a part was scored. */
  cut: CutRows | null
  beta: number
  /** z0 over mismatched pairs of these rows, in nats. */
  referencePoint: number
  /** Rows whose reward lies on their label's side of beta z0; ties count half. Intervals count as many rows as there are prompts. */
  accuracy: Proportion
  /** null where all rows have one label. */
  area: AreaUnderCurve | null
  calibration: Calibration
  /** Mean of log pi - log pi_ref over replies of the model itself; null where none were made. */
  kl: (Interval & { mean: number; replies: number }) | null
  /** How far the log-probability of rows moved from the reference's, in nats: mean over prompts of their rows' means. */
  drift: (Interval & { label: 'thumbs-up' | 'thumbs-down'; rows: number; mean: number })[]
  lists: {
    /**
     * Rows beyond the middle of the other label, the furthest first: the thumb may be wrong. Empty where the reward is not seen to tell the labels apart.
     * The first of so many.
     */
    mislabelled: ListedRow[]
    mislabelledInAll: number
    /** Rows that hardly teach any more: sigmoid' of their reward is below a hundredth of its highest (Proposition 4.1 of arXiv 2402.01306), as in training. */
    saturated: number
    /** Thumbs-up rows that became less likely and thumbs-down rows that became likelier, the furthest first; the first of so many. */
    worsened: ListedRow[]
    worsenedInAll: number
  }
}

export interface RewardInputs {
  rows: readonly ScoredRow[]
  /** Which prompt each row answers: rows of one prompt are not independent. Each row has its own where it is left out. */
  prompts?: readonly number[]
  beta: number
  /** z0, in nats. */
  referencePoint: number
  /** log pi - log pi_ref of replies of the model itself. */
  ownLogRatios: readonly number[]
  /** Most rows in a list. */
  listed: number
  cut?: CutRows | null
}

/** All that `prospect evaluate rewards` says, from log-probabilities. */
export function rewardReport({
  rows,
  prompts = rows.map((_, row) => row),
  beta,
  referencePoint,
  ownLogRatios,
  listed,
  cut = null,
}: RewardInputs): RewardReport {
  const scored = rows.map((row) => scoredRow(row, beta, referencePoint))
  const labels = rows.map(({ desirable }) => desirable)
  const right = scored.map(({ probability: p, desirable }) => (p === 0.5 ? 0.5 : Number(p > 0.5 === desirable)))
  const rewards = scored.map(({ reward }) => reward)
  const asked = new Set(prompts).size
  const area = areaWithInterval(rewards, labels, asked / rows.length)
  const suspects = area && area.low > 0.5 ? mislabelled(scored) : []
  const worse = worsened(scored)
  return {
    rows: rows.length,
    desirable: labels.filter(Boolean).length,
    cut,
    beta,
    referencePoint,
    accuracy: shareOverPrompts(right, asked),
    area,
    calibration: calibration(
      scored.map(({ probability }) => probability),
      labels,
    ),
    kl: ownLogRatios.length === 0 ? null : { ...meanInterval(ownLogRatios), replies: ownLogRatios.length },
    drift: drift(rows, prompts),
    lists: {
      mislabelled: suspects.slice(0, listed),
      mislabelledInAll: suspects.length,
      saturated: scored.filter(({ probability }) => probability * (1 - probability) < 0.25 * saturatedBelow).length,
      worsened: worse.slice(0, listed),
      worsenedInAll: worse.length,
    },
  }
}

export function scoredRow(row: ScoredRow, beta: number, referencePoint: number): ListedRow {
  const ratio = row.policy - row.reference
  return { ...row, reward: beta * ratio, probability: 1 / (1 + Math.exp(-beta * (ratio - referencePoint))) }
}

function drift(rows: readonly ScoredRow[], prompts: readonly number[]): RewardReport['drift'] {
  return ([true, false] as const).flatMap((label) => {
    const byPrompt = new Map<number, number[]>()
    for (const [i, { desirable, policy, reference }] of rows.entries()) {
      if (desirable !== label) continue
      byPrompt.set(prompts[i]!, [...(byPrompt.get(prompts[i]!) ?? []), policy - reference])
    }
    const moved = [...byPrompt.values()].map((own) => mean(own)!)
    const name = label ? ('thumbs-up' as const) : ('thumbs-down' as const)
    const count = rows.filter(({ desirable }) => desirable === label).length
    return moved.length === 0 ? [] : [{ label: name, rows: count, ...meanInterval(moved) }]
  })
}

function mislabelled(rows: readonly ListedRow[]): ListedRow[] {
  const middle = (label: boolean) => {
    const rewards = rows.filter(({ desirable }) => desirable === label).map(({ reward }) => reward)
    return rewards.sort((a, b) => a - b)[Math.floor(rewards.length / 2)]
  }
  const [up, down] = [middle(true), middle(false)]
  if (up === undefined || down === undefined || up <= down) return [] // the reward does not tell the labels apart
  const beyond = ({ desirable, reward }: ListedRow) => (desirable ? down - reward : reward - up)
  return rows.filter((row) => beyond(row) > 0).sort((a, b) => beyond(b) - beyond(a))
}

function worsened(rows: readonly ListedRow[]): ListedRow[] {
  const harm = ({ desirable, reward }: ListedRow) => (desirable ? -reward : reward)
  return rows.filter((row) => harm(row) > 0).sort((a, b) => harm(b) - harm(a))
}
