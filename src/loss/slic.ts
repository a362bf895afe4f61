import { op } from '../tensor/operators.ts'
import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { byPair } from './pairs.ts'
import { humanlineClamp, logRatios } from './ratio.ts'

/**
 * SLiC-HF, Eq. 1 and 2 of arXiv 2305.10425: max(0, delta - log pi(y_w|x) + log pi(y_l|x)) - lambda log pi(y_w|x). The second term keeps the policy
 * near its data; the target of that regularisation is the chosen completion, as in the authors' pair variant and in HALOs. No reference model.
 */
export function slic(settings: Settings): Objective {
  const { margin, sftWeight } = settings
  const clamp = humanlineClamp(settings)
  return {
    name: 'slic',
    needs: { labels: true, pairs: true, reference: false, mismatched: false, tokens: clamp !== null },
    averagedOver: 'pairs',
    losses(rows) {
      const { chosen, rejected } = byPair(logRatios(rows, clamp), rows)
      const hinge = op.clampMin(rejected.sub(chosen).add(margin), 0)
      return hinge.sub(byPair(rows.policy, rows).chosen.mul(sftWeight))
    },
    logRatios: (rows) => logRatios(rows, clamp),
    rewardScale: 1,
    absolute: clamp !== null,
  }
}
