import { OptionError } from '../options/validate.ts'
import { op } from '../tensor/operators.ts'
import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { differences } from './pairs.ts'
import { logRatios } from './ratio.ts'

/**
 * Robust DPO, Eq. 12 of arXiv 2403.00409: an unbiased estimate of DPO's loss on clean pairs where a share epsilon < 1/2 of those at hand is
 * the wrong way round: (-(1 - epsilon) log sigmoid(m) + epsilon log sigmoid(-m)) / (1 - 2 epsilon), m = beta (r_w - r_l).
 */
export function robustDpo({ beta, labelSmoothing: epsilon }: Settings): Objective {
  if (epsilon >= 0.5)
    throw new OptionError(
      `loss.labelSmoothing: ${epsilon}, but robust-dpo divides by 1 - 2 epsilon: give less than 0.5`,
    )
  return {
    name: 'robust-dpo',
    needs: { labels: true, pairs: true, reference: true, mismatched: false, tokens: false },
    averagedOver: 'pairs',
    losses(rows) {
      const margin = differences(logRatios(rows), rows).mul(beta)
      const [right, wrong] = [op.logSigmoid(margin), op.logSigmoid(margin.neg())]
      return right
        .mul(epsilon - 1)
        .add(wrong.mul(epsilon))
        .div(1 - 2 * epsilon)
    },
    logRatios: (rows) => logRatios(rows),
    rewardScale: beta,
  }
}
