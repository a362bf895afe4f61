import { op } from '../tensor/operators.ts'
import { sumsByRow } from '../tensor/sums.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Rows } from './objective.ts'
import type { Settings } from './options.ts'

/** Between which bounds the log-ratio of a token counts. */
export interface Clamp {
  low: number
  high: number
}

/** The clamp that the options ask for; null where they ask for none. */
export function humanlineClamp({ humanline, humanlineLow, humanlineHigh }: Settings): Clamp | null {
  return humanline ? { low: humanlineLow, high: humanlineHigh } : null
}

/**
 * r = log pi_theta(y|x) - log pi_ref(y|x) of each row, [rows]; with no reference, log pi_theta(y|x). With a clamp, each token's log-ratio is
 * clamped before they are summed: humanline, as the authors of KTO have it (HALOs, `log_epsilon_P` and `log_epsilon_R`; arXiv 2509.24207).
 */
export function logRatios(rows: Rows, clamp: Clamp | null = null): Tensor {
  if (!clamp) return rows.reference ? rows.policy.sub(rows.reference) : rows.policy
  return sumByRow(op.clamp(tokenLogRatios(rows), clamp.low, clamp.high), rows)
}

/** The same divided by the completion's tokens. */
export function meanLogRatios(rows: Rows, clamp: Clamp | null = null): Tensor {
  return logRatios(rows, clamp).div(rows.lengths)
}

/** log pi_theta - log pi_ref of each token, [tokens]. */
export function tokenLogRatios({ tokens }: Rows): Tensor {
  return tokens!.reference ? tokens!.policy.sub(tokens!.reference) : tokens!.policy
}

/** Sums of token values by row, [rows] float32. */
export function sumByRow(values: Tensor, { tokens, policy }: Rows): Tensor {
  return sumsByRow(values, tokens!.row, policy.size)
}
