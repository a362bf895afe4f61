import { op } from '../tensor/operators.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { logisticSlope, logSigmoidSlope } from './objective.ts'
import type { Settings } from './options.ts'

/** A value function of z = +-beta (r - z0), gains positive, and the constant from which the loss subtracts it. */
export interface ValueFunction {
  value(z: Tensor): Tensor
  /** The loss of a row is its weight times (offset - value). */
  offset: number
  /** Its slope as a share of the greatest; where it never flattens, absent. */
  slope?(z: number): number
}

/** Within this distance of the reference point Kahneman and Tversky's power is continued as a line, since its slope at 0 is infinite. */
export const linearWithin = 0.01

/**
 * KTO's own and those of its ablations (arXiv 2402.01306, Section 4.3): the logistic function saturates for gains and losses alike; its
 * logarithm is concave, so losses never saturate; the identity is risk-neutral; Kahneman and Tversky's is z^alpha for gains and
 * -lambda (-z)^alpha for losses (Eq. 1 there), with the medians alpha = 0.88 and lambda = 2.25 of their experiments.
 */
export function valueFunction({ valueFunction: name, valueAlpha, valueLambda }: Settings): ValueFunction {
  switch (name) {
    case 'logistic':
      return { value: (z) => z.sigmoid(), offset: 1, slope: logisticSlope }
    case 'log-sigmoid':
      return { value: (z) => op.logSigmoid(z), offset: 0, slope: logSigmoidSlope }
    case 'identity':
      return { value: (z) => z, offset: 0 }
    case 'kahneman-tversky':
      return { value: (z) => kahnemanTversky(z, valueAlpha, valueLambda), offset: 0 }
  }
}

function kahnemanTversky(z: Tensor, alpha: number, lambda: number): Tensor {
  const losing = op.ltScalar(z, 0)
  const signed = op.where(losing, z.neg(), z)
  const power = op.powScalar(op.clampMin(signed, linearWithin), alpha)
  const utility = op.where(op.ltScalar(signed, linearWithin), signed.mul(linearWithin ** (alpha - 1)), power)
  return op.where(losing, utility.mul(-lambda), utility)
}
