import { op } from '../tensor/operators.ts'
import { logSigmoidSlope, type Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { differences } from './pairs.ts'
import { humanlineClamp, logRatios } from './ratio.ts'

/** DPO, Eq. 7 of arXiv 2305.18290: -log sigmoid(beta (r_w - r_l)), r = log pi_theta(y|x) - log pi_ref(y|x). */
export function dpo(settings: Settings): Objective {
  const clamp = humanlineClamp(settings)
  return {
    name: 'dpo',
    needs: { labels: true, pairs: true, reference: true, mismatched: false, tokens: clamp !== null },
    averagedOver: 'pairs',
    losses: (rows) => op.logSigmoid(differences(logRatios(rows, clamp), rows).mul(settings.beta)).neg(),
    logRatios: (rows) => logRatios(rows, clamp),
    rewardScale: settings.beta,
    slope: logSigmoidSlope,
  }
}
