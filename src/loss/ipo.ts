import { op } from '../tensor/operators.ts'
import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { differences } from './pairs.ts'
import { humanlineClamp, meanLogRatios } from './ratio.ts'

/**
 * IPO, Eq. 17 of arXiv 2310.12036: (h - 1 / (2 tau))^2, h = r_w - r_l, with beta as tau. As in the peers, who had it from the authors, r is the
 * mean log-ratio of a completion's tokens, not their sum.
 */
export function ipo(settings: Settings): Objective {
  const clamp = humanlineClamp(settings)
  return {
    name: 'ipo',
    needs: { labels: true, pairs: true, reference: true, mismatched: false, tokens: clamp !== null },
    averagedOver: 'pairs',
    losses(rows) {
      const h = differences(meanLogRatios(rows, clamp), rows)
      return op.square(h.sub(1 / (2 * settings.beta)))
    },
    logRatios: (rows) => meanLogRatios(rows, clamp),
    rewardScale: settings.beta,
  }
}
