import { op } from '../tensor/operators.ts'
import { logSigmoidSlope, type Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { logRatios } from './ratio.ts'
import { fixedPoint } from './reference-point.ts'
import { labelWeights, signs } from './weights.ts'

/**
 * BCO, Eq. 9 of arXiv 2404.04656: -log sigmoid(+-(beta r - delta)), + for a desirable and - for an undesirable completion, where delta is the running mean
 * of the rewards of all rows so far. It is the mean over the steps before this one, since the rewards of a step are only known after its
 * passes, and must not depend on how they are cut. Where the two kinds of rows have different prompts, thumbs-down rows may be weighted by the density ratio
 * of their prompts (its underlying distribution matching).
 */
export function bco(settings: Settings): Objective {
  return {
    name: 'bco',
    needs: { labels: true, pairs: false, reference: true, mismatched: false, tokens: false, ...density(settings) },
    averagedOver: 'rows',
    losses(rows, referencePoint) {
      const z = logRatios(rows).sub(referencePoint!.value).mul(signs(rows.desirable)).mul(settings.beta)
      return labelWeights(rows.desirable, settings).mul(op.logSigmoid(z).neg())
    },
    logRatios: (rows) => logRatios(rows),
    rewardScale: settings.beta,
    slope: logSigmoidSlope,
    initialState: { mean: 0, count: 0 },
    referencePoint: (_, { mean, count }) => ({ ...fixedPoint(mean!), count: count! }),
    nextState({ mean, count }, step) {
      const ratios = Array.from(step.logRatios!)
      const total = count! + ratios.length
      const sum = ratios.reduce((all, ratio) => all + ratio, mean! * count!)
      return { mean: sum / total, count: total }
    },
  }
}

function density({ densityRatio, densityRatioLow: low, densityRatioHigh: high, densityRatioSample: sample }: Settings) {
  return densityRatio ? { density: { low, high, sample } } : {}
}
