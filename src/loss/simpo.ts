import { op } from '../tensor/operators.ts'
import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { differences } from './pairs.ts'
import { humanlineClamp, meanLogRatios } from './ratio.ts'

/**
 * SimPO, Eq. 6 of arXiv 2405.14734: -log sigmoid(beta (l_w - l_l) - gamma), l the mean log-probability of a completion's tokens, gamma given as
 * gamma / beta. No reference model.
 */
export function simpo(settings: Settings): Objective {
  const { beta, gammaBetaRatio } = settings
  const clamp = humanlineClamp(settings)
  return {
    name: 'simpo',
    needs: { labels: true, pairs: true, reference: false, mismatched: false, tokens: clamp !== null },
    averagedOver: 'pairs',
    losses(rows) {
      const margin = differences(meanLogRatios(rows, clamp), rows).sub(gammaBetaRatio)
      return op.logSigmoid(margin.mul(beta)).neg()
    },
    logRatios: (rows) => meanLogRatios(rows, clamp),
    rewardScale: beta,
    absolute: clamp !== null,
  }
}
