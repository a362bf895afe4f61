import type { Tensor } from '../tensor/tensor.ts'

/** What an objective sees of some rows of the batch. All log-probabilities are sums over completion tokens. */
export interface Rows {
  /** log pi_theta(y|x), [rows] float32, with gradient in training. */
  policy: Tensor
  /** log pi_ref(y|x), [rows] float32; null where the objective needs no reference. */
  reference: Tensor | null
  /** true: desirable, [rows] bool. */
  desirable: Tensor
}

/** The reference point of a whole global batch. */
export interface ReferencePoint {
  /** z0 = max(0, mean), what the loss uses. */
  value: number
  /** Mean log-ratio of the mismatched completions, before the clamp. */
  mean: number
  /** Standard error of that mean; 0 for a single one. */
  standardError: number
  /** Mismatched completions it was estimated from. */
  count: number
}

/** A loss over judged completions. Pure: tensors in, tensors out; the training loop asks what it needs and knows no names. */
export interface Objective {
  readonly name: string
  readonly needs: {
    /** Both thumbs: rows without a label are refused. */
    labels: boolean
    /** Log-probabilities under the reference model. */
    reference: boolean
    /** A mismatched completion y' for each row, for the reference point. */
    mismatched: boolean
  }
  /** What the sum of losses over the global batch is divided by: its rows, or its completion tokens. */
  readonly averagedOver: 'rows' | 'tokens'
  /** Loss of each row, [rows] float32. */
  losses(rows: Rows, referencePoint: ReferencePoint | null): Tensor
  /** Implicit reward of each row, [rows] float32; null where the objective defines none. */
  rewards(rows: Rows): Tensor | null
}
