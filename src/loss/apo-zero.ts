import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { byPair } from './pairs.ts'
import { logRatios } from './ratio.ts'

/** APO-zero, Eq. 7 of arXiv 2408.06266: (1 - sigmoid(beta r_w)) + sigmoid(beta r_l), which raises the chosen and lowers the rejected completion. */
export function apoZero({ beta }: Settings): Objective {
  return {
    name: 'apo-zero',
    needs: { labels: true, pairs: true, reference: true, mismatched: false, tokens: false },
    averagedOver: 'pairs',
    losses(rows) {
      const { chosen, rejected } = byPair(logRatios(rows).mul(beta).sigmoid(), rows)
      return rejected.sub(chosen).add(1)
    },
    logRatios: (rows) => logRatios(rows),
    rewardScale: beta,
  }
}
