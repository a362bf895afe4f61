import { logisticSlope, type Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { logRatios } from './ratio.ts'
import { labelWeights, signs } from './weights.ts'

/**
 * APO-zero (arXiv 2408.06266, Eq. 7) taken apart into rows: lambda_D (1 - sigmoid(beta r)) for a desirable and lambda_U sigmoid(beta r) for an undesirable
 * completion. It is KTO with its reference point at 0.
 */
export function apoZeroUnpaired(settings: Settings): Objective {
  return {
    name: 'apo-zero-unpaired',
    needs: { labels: true, pairs: false, reference: true, mismatched: false, tokens: false },
    averagedOver: 'rows',
    losses(rows) {
      const right = logRatios(rows).mul(settings.beta).mul(signs(rows.desirable)).sigmoid()
      return labelWeights(rows.desirable, settings).mul(right.neg().add(1))
    },
    logRatios: (rows) => logRatios(rows),
    rewardScale: settings.beta,
    slope: logisticSlope,
  }
}
