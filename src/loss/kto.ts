import { op } from '../tensor/operators.ts'
import type { Objective, ReferencePoint } from './objective.ts'

export interface KtoOptions {
  /** How strongly the policy is held to the reference; 0.1 in the paper. */
  beta: number
  /** lambda_D */
  desirableWeight: number
  /** lambda_U */
  undesirableWeight: number
}

/**
 * KTO, Eq. 7 and 8 of arXiv 2402.01306: lambda_y - v with v = lambda_D sigmoid(beta (r - z0)) for a desirable and
 * lambda_U sigmoid(beta (z0 - r)) for an undesirable completion, r = log pi_theta(y|x) - log pi_ref(y|x).
 */
export function kto({ beta, desirableWeight, undesirableWeight }: KtoOptions): Objective {
  return {
    name: 'kto',
    needs: { labels: true, reference: true, mismatched: true },
    averagedOver: 'rows',
    losses({ policy, reference, desirable }, referencePoint) {
      const sign = desirable.to('float32').mul(2).sub(1) // +1 desirable, -1 undesirable
      const value = policy.sub(reference!).sub(referencePoint!.value).mul(sign).mul(beta).sigmoid()
      const weight = op.where(
        desirable,
        op.full([], desirableWeight, 'float32'),
        op.full([], undesirableWeight, 'float32'),
      )
      return weight.mul(value.neg().add(1))
    },
    rewards({ policy, reference }) {
      return policy.detach().sub(reference!).mul(beta)
    },
  }
}

/**
 * z0 of arXiv 2402.01306, Section 4: an estimate of KL(pi_theta || pi_ref) from mismatched completions, never below 0.
 * Where there is none (a data set with a single prompt), z0 is 0 and the count says so.
 */
export function estimateReferencePoint(logRatios: ArrayLike<number>): ReferencePoint {
  const count = logRatios.length
  if (count === 0) return { value: 0, mean: 0, standardError: 0, count }
  const values = Array.from(logRatios)
  const mean = values.reduce((sum, value) => sum + value, 0) / count
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  const standardError = count > 1 ? Math.sqrt(squares / (count - 1) / count) : 0
  return { value: Math.max(0, mean), mean, standardError, count }
}
