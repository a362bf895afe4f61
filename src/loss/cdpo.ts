import { op } from '../tensor/operators.ts'
import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { differences } from './pairs.ts'
import { humanlineClamp, logRatios } from './ratio.ts'

/**
 * Conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO", Eq. 3), where a share epsilon of the pairs is
 * the wrong way round: -(1 - epsilon) log sigmoid(beta (r_w - r_l)) - epsilon log sigmoid(beta (r_l - r_w)).
 */
export function cdpo(settings: Settings): Objective {
  const { beta, labelSmoothing: epsilon } = settings
  const clamp = humanlineClamp(settings)
  return {
    name: 'cdpo',
    needs: { labels: true, pairs: true, reference: true, mismatched: false, tokens: clamp !== null },
    averagedOver: 'pairs',
    losses(rows) {
      const margin = differences(logRatios(rows, clamp), rows).mul(beta)
      const [right, wrong] = [op.logSigmoid(margin), op.logSigmoid(margin.neg())]
      return right.mul(epsilon - 1).sub(wrong.mul(epsilon))
    },
    logRatios: (rows) => logRatios(rows, clamp),
    rewardScale: beta,
  }
}
