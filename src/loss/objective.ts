import type { Mismatch } from '../data/plan.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { DensityOptions } from './density-ratio.ts'

/** What an objective sees of some rows of the batch. Log-probabilities are sums over completion tokens. */
export interface Rows {
  /** log pi_theta(y|x), [rows] float32, with gradient in training. */
  policy: Tensor
  /** log pi_ref(y|x), [rows] float32; null where the objective needs no reference. */
  reference: Tensor | null
  /** true: desirable, [rows] bool. */
  desirable: Tensor
  /** Completion tokens of each row, [rows] float32. */
  lengths: Tensor
  /** Where the objective needs pairs: which rows are chosen and which rejected, pair by pair, each [pairs] int64. */
  pairs: PairPositions | null
  /** Where the objective needs tokens. */
  tokens: TokenLogps | null
}

export interface PairPositions {
  chosen: Tensor
  rejected: Tensor
}

/** Log-probabilities of the completion tokens of some rows, one after the other. */
export interface TokenLogps {
  /** [tokens] float32, with gradient in training. */
  policy: Tensor
  /** [tokens] float32; null where the objective needs no reference. */
  reference: Tensor | null
  /** The row that each token belongs to, [tokens] int64. */
  row: Tensor
  /** Where the objective needs values: what the value head says of the state before each token, [tokens] float32, with gradient to the head. */
  values?: Tensor | null
  /** Where it needs values: its `tokenTargets` of these tokens, each [tokens] float32. */
  targets?: { advantages: Tensor; returns: Tensor } | null
}

/** What each completion token of a batch was better than its state's value, and what the value should have been: row by row. */
export interface TokenTargets {
  advantages: Float32Array[]
  returns: Float32Array[]
}

/** The reference point of a whole global batch. */
export interface ReferencePoint {
  /** z0, what the loss uses: a log-ratio. */
  value: number
  /** Mean log-ratio that it was estimated from, before any clamp. */
  mean: number
  /** Standard error of that mean: of all-pairs with what its pairs have in common, else as if all were independent; 0 for a single one. */
  standardError: number
  /** Log-ratios it was estimated from. */
  count: number
}

/** What an objective remembers from step to step; part of a checkpoint. */
export type ObjectiveState = Readonly<Record<string, number>>

/** What a step that was applied tells an objective that remembers. */
export interface StepFacts {
  /** r of each row of the global batch; null where the objective defines none. */
  logRatios: ArrayLike<number> | null
  desirable: readonly boolean[]
  referencePoint: ReferencePoint | null
}

/** What an objective asks of the data and of the loop. */
export interface Needs {
  /** Both thumbs: rows without a label are refused. */
  labels: boolean
  /** Chosen and rejected completions of one prompt, side by side in a batch. */
  pairs: boolean
  /** Log-probabilities under the reference model. */
  reference: boolean
  /** Mismatched completions y' for each row, for the reference point: none, one, or all that its block of so many rows has. */
  mismatched: boolean
  mismatchedBlock?: number
  /** Log-probabilities of single tokens, not only of completions. */
  tokens: boolean
  /** A value head, learnt beside the policy: what the state before each token is worth. Asks for `tokens` as well. */
  values?: boolean
  /** Weights for thumbs-down rows by the density ratio of their prompts. */
  density?: DensityOptions
  /** Texts put between prompt and completion, by label: the completion is learnt as conditioned on them. */
  control?: { desirable: string; undesirable: string }
}

/** A loss over judged completions. Pure: tensors in, tensors out; the training loop asks what it needs and knows no names. */
export interface Objective {
  readonly name: string
  readonly needs: Needs
  /** What the sum of losses over the global batch is divided by: its rows, its pairs, or its completion tokens. */
  readonly averagedOver: 'rows' | 'pairs' | 'tokens'
  /** Loss of each row, [rows] float32, or of each pair, [pairs], where it is averaged over pairs. Weights of rows are applied by the loop. */
  losses(rows: Rows, referencePoint: ReferencePoint | null): Tensor
  /** r of each row in the paper's sense, [rows] float32, with gradient in training; null where the objective defines none. */
  logRatios(rows: Rows): Tensor | null
  /** beta: the implicit reward is beta r. */
  readonly rewardScale: number
  /**
   * Whether a loss without a reference depends on how high log-probabilities are, and not on their differences alone: then it is of none above 0.
   */
  readonly absolute?: boolean
  /**
   * Where the loss flattens: its slope as a share of the greatest, at z = +-beta (r - z0), positive where the row is on its label's side, or at
   * z = beta (r_w - r_l) of a pair. Rows whose share is small teach nothing more.
   */
  slope?(z: number): number
  /**
   * The reference point of a step, before its first backward pass, from the r of its mismatched completions (none where none are needed). `pairs`: which
   * row and which completion each is of, where that is known.
   */
  referencePoint?(mismatched: ArrayLike<number>, state: ObjectiveState, pairs?: readonly Mismatch[]): ReferencePoint
  /**
   * Where it needs values: the targets of a whole global batch, before its first backward pass, from the values of each row's completion tokens as the
   * value head has them before the step.
   */
  tokenTargets?(values: readonly Float32Array[], desirable: readonly boolean[]): TokenTargets
  /** Where it remembers: what it starts from, and what it remembers after a step. */
  readonly initialState?: ObjectiveState
  nextState?(state: ObjectiveState, step: StepFacts): ObjectiveState
}

/** Implicit reward of each row, beta r, without gradient, [rows] float32; null where the objective defines none. */
export function implicitRewards(objective: Objective, rows: Rows): Tensor | null {
  return objective.logRatios(rows)?.detach().mul(objective.rewardScale) ?? null
}

/** Slope of the sigmoid as a share of its greatest, which it has at 0. */
export function logisticSlope(z: number): number {
  const sigmoid = 1 / (1 + Math.exp(-z))
  return 4 * sigmoid * (1 - sigmoid)
}

/** Slope of the log-sigmoid, whose greatest is 1, for losses without end. */
export function logSigmoidSlope(z: number): number {
  return 1 / (1 + Math.exp(z))
}
