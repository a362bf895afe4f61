import { op } from '../tensor/operators.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Objective, Rows } from './objective.ts'
import type { Settings } from './options.ts'
import { humanlineClamp, logRatios, sumByRow, tokenLogRatios } from './ratio.ts'
import { signs } from './weights.ts'

/**
 * Offline PPO-Clip with dummy rewards, the baseline of arXiv 2402.01306 (Section 3.3, Eq. 4 and 5; clipping from arXiv 1707.06347, Eq. 7): with the
 * advantage A = +1 for tokens of a desirable and -1 for those of an undesirable completion and rho = pi_theta / pi_ref of a token,
 * -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A) - c log rho, averaged over tokens. No value network.
 *
 * Over replies that the reference gave, the mean of -log rho estimates KL(pi_ref || pi_theta), which the policy is to keep small. HALOs' legacy branch has it so;
 * its main branch adds c log rho, which has no floor on replies that the policy did not draw itself: it falls as long as they become less likely.
 */
export function ppo(settings: Settings): Objective {
  const clamp = humanlineClamp(settings)
  return {
    name: 'ppo',
    needs: { labels: true, pairs: false, reference: true, mismatched: false, tokens: true },
    averagedOver: 'tokens',
    losses: (rows) =>
      sumByRow(clippedLosses(rows, signs(rows.desirable).indexSelect(0, rows.tokens!.row), settings), rows),
    logRatios: (rows) => logRatios(rows, clamp),
    rewardScale: 1,
  }
}

/** The highest log-ratio of a token that counts in rho: from 88.7 on exp is infinite in float32, and the gradient of a clipped gain would be 0 times that. */
const highestLogRatio = 60

/** -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A) - c log rho of each token, [tokens], from its advantage A. */
export function clippedLosses(rows: Rows, advantages: Tensor, settings: Settings): Tensor {
  const { clipRange, klCoefficient } = settings
  const clamp = humanlineClamp(settings)
  const logRatio = tokenLogRatios(rows)
  const high = Math.min(clamp?.high ?? highestLogRatio, highestLogRatio)
  const ratio = op.exp(op.clamp(logRatio, clamp?.low ?? null, high))
  const gain = op.minimum(ratio.mul(advantages), op.clamp(ratio, 1 - clipRange, 1 + clipRange).mul(advantages))
  return gain.add(logRatio.mul(klCoefficient)).neg()
}
