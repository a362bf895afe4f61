import type { ReferencePoint } from '../loss/objective.ts'
import type { RewardStatistics } from './rewards.ts'

/** A running or finished training run. Iterating it gives each step's metrics as the step ends. */
export interface Run extends AsyncIterable<StepMetrics> {
  /** The run directory. */
  readonly directory: string
  /** Settles when everything is written; rejects where the run failed. */
  readonly finished: Promise<Summary>
}

/** One optimiser step. Null where the objective has no such quantity. */
export interface StepMetrics {
  /** Steps done, from 1, of `steps`. */
  step: number
  steps: number
  /** Passes over the data done, fractional. */
  epoch: number
  /** Mean over the batch's rows, pairs or completion tokens, as the objective says. */
  loss: number
  rewards: RewardStatistics | null
  /** Mean summed log-probability of desirable and of undesirable completions; null where the batch has none. */
  logps: { chosen: number | null; rejected: number | null }
  /** The reference point, in nats: z0 of KTO (arXiv 2402.01306, Section 4.1), or what the objective has in its place. */
  kl: ReferencePoint | null
  /** Share of rows (or pairs) whose slope is under 1 % of the greatest; null where the loss does not flatten. */
  saturated: number | null
  /** Norm of the gradient of all trained weights together, before it is clipped. */
  gradNorm: number
  /** Of this step, as the schedule says. */
  learningRate: number
  /** Names of the alarms that are on: see alarms.ts. */
  alarms: string[]
  /** Where loss or gradient were not finite: the step changed nothing, and these rows (file and line) were found to cause it. */
  notApplied?: string[]
  /** Apart from the rest because it differs between runs that are otherwise equal. */
  timings: StepTimings
}

export interface StepTimings {
  /** Prompt and completion tokens of the batch's rows, over the step's time. */
  tokensPerSecond: number
  secondsLeft: number
  /** Of the tensors that are held, on the GPU where one computes. */
  memoryBytes: number
}

/** How the model does on held-out rows. */
export interface Evaluation {
  rows: number
  loss: number
  rewards: RewardStatistics | null
  /** How often a desirable row's reward exceeds an undesirable one's. */
  areaUnderCurve: number | null
  /** How rewards are spread by label (lowest, deciles, highest), and the reward at the reference point. */
  rewardDeciles?: { desirable: number[]; undesirable: number[]; threshold: number } | null
}

/** How a run ended. */
export interface Summary {
  /** Folder of the trained model; null where the run was interrupted. */
  model: string | null
  /** Steps done in all, before and after a resume. */
  steps: number
  seconds: number
  evaluation: { before: Evaluation; after: Evaluation } | null
}

/** What a caller may hand to a run beside its options. */
export interface TrainHooks {
  /** Where aborted, the step under way ends, a checkpoint is written and `finished` resolves with `model: null`. */
  signal?: AbortSignal
  /** Continue the run in this directory, with the options in its config.yaml; other options are not looked at. */
  resume?: string
  progress?: Progress
}

/** Shows how far work is. Of several pieces under way, the one started last is shown. */
export interface Progress {
  /** `done` where some of it was done before, as in a resumed run. */
  start(total: number, label: string, done?: number): ProgressPiece
  /** A line above the bar. */
  log(line: string): void
}

export interface ProgressPiece {
  update(done: number, metrics?: Readonly<Record<string, number | null>>): void
  stop(): void
}
