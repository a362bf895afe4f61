import { op } from '../tensor/operators.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { byPair } from './pairs.ts'

/**
 * ORPO, Eq. 6 and 7 of arXiv 2403.07691: -l_w - lambda log sigmoid(log odds(y_w) - log odds(y_l)), where l = log P(y|x) is the mean log-probability of
 * a completion's tokens (Eq. 3 there) and odds = P / (1 - P). No reference model.
 */
export function orpo({ oddsRatioWeight }: Settings): Objective {
  return {
    name: 'orpo',
    needs: { labels: true, pairs: true, reference: false, mismatched: false, tokens: false },
    averagedOver: 'pairs',
    losses(rows) {
      const { chosen, rejected } = byPair(rows.policy.div(rows.lengths), rows)
      const ratio = op.logSigmoid(logOdds(chosen).sub(logOdds(rejected)))
      return chosen.neg().sub(ratio.mul(oddsRatioWeight))
    },
    logRatios: ({ policy, lengths }) => policy.div(lengths),
    rewardScale: oddsRatioWeight,
    absolute: true,
  }
}

/** log(P / (1 - P)) from log P < 0; at 1e-7 from 0 it stays finite. */
function logOdds(logp: Tensor): Tensor {
  const below = op.clamp(logp, null, -1e-7)
  return below.sub(op.log(op.expm1(below).neg()))
}
