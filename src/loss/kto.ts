import type { Tensor } from '../tensor/tensor.ts'
import type { Objective, ObjectiveState, ReferencePoint, Rows } from './objective.ts'
import type { Settings } from './options.ts'
import { humanlineClamp, logRatios, meanLogRatios } from './ratio.ts'
import { estimateReferencePoint, fixedPoint, meanPoint, withSharedError } from './reference-point.ts'
import { valueFunction } from './value.ts'
import { labelWeights, signs } from './weights.ts'

/**
 * KTO, Eq. 7 and 8 of arXiv 2402.01306: lambda_y - v with v = lambda_D sigmoid(beta (r - z0)) for a desirable and
 * lambda_U sigmoid(beta (z0 - r)) for an undesirable completion, r = log pi_theta(y|x) - log pi_ref(y|x).
 *
 * Its ablations (Section 4.3) are options: another value function in place of the sigmoid; another reference point; no reference model,
 * where r is the mean log-probability of a completion's tokens, as in the authors' code, and z0 is not clamped, since it estimates no KL.
 */
export function kto(settings: Settings): Objective {
  const { beta, referenceFree } = settings
  const { value, offset, slope } = valueFunction(settings)
  const clamp = humanlineClamp(settings)
  const ratios = (rows: Rows): Tensor => (referenceFree ? meanLogRatios(rows, clamp) : logRatios(rows, clamp))
  return {
    name: 'kto',
    needs: { labels: true, pairs: false, reference: !referenceFree, tokens: clamp !== null, ...mismatches(settings) },
    averagedOver: 'rows',
    losses(rows, referencePoint) {
      const z = ratios(rows).sub(referencePoint!.value).mul(signs(rows.desirable)).mul(beta)
      return labelWeights(rows.desirable, settings).mul(value(z).neg().add(offset))
    },
    logRatios: ratios,
    rewardScale: beta,
    ...(slope && { slope }),
    ...pointOf(settings),
  }
}

function mismatches({ referencePoint, referencePointBlock }: Settings) {
  if (referencePoint === 'none' || referencePoint === 'fixed') return { mismatched: false }
  return { mismatched: true, ...(referencePoint === 'all-pairs' && { mismatchedBlock: referencePointBlock }) }
}

/** How z0 comes about. */
function pointOf(settings: Settings): Pick<Objective, 'referencePoint' | 'initialState' | 'nextState'> {
  const { referencePointValue, referencePointMomentum: momentum, referenceFree } = settings
  const estimate = referenceFree ? meanPoint : estimateReferencePoint
  switch (settings.referencePoint) {
    case 'none':
      return { referencePoint: () => fixedPoint(0) }
    case 'fixed':
      return { referencePoint: () => fixedPoint(referencePointValue) }
    case 'mismatched':
      return { referencePoint: estimate }
    case 'all-pairs':
      return {
        referencePoint(mismatched, _, pairs) {
          const point = estimate(mismatched)
          return pairs ? withSharedError(point, mismatched, pairs) : point
        },
      }
    case 'moving-average':
      return {
        initialState: { steps: 0, mean: 0 },
        referencePoint: (mismatched, state) => movingPoint(meanPoint(mismatched), state, momentum, referenceFree),
        nextState: (state, { referencePoint }) => moved(state, referencePoint!, momentum),
      }
  }
}

/** z0 from the moving average of the means of the steps so far, this one included. */
function movingPoint(
  point: ReferencePoint,
  state: ObjectiveState,
  momentum: number,
  referenceFree: boolean,
): ReferencePoint {
  const { mean } = moved(state, point, momentum)
  return { ...point, value: referenceFree ? mean! : Math.max(0, mean!) }
}

/** The first step sets the average. */
function moved(state: ObjectiveState, { mean }: ReferencePoint, momentum: number): ObjectiveState {
  const before = state.steps === 0 ? mean : state.mean!
  return { steps: state.steps! + 1, mean: momentum * before + (1 - momentum) * mean }
}
