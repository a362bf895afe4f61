import { op } from '../tensor/operators.ts'
import type { Device, Tensor } from '../tensor/tensor.ts'
import type { Settings } from './options.ts'

type Weights = Pick<Settings, 'desirableWeight' | 'undesirableWeight'>

/** lambda_D for desirable and lambda_U for undesirable rows, [rows] float32. `auto` must have been resolved. */
export function labelWeights(desirable: Tensor, { desirableWeight, undesirableWeight }: Weights): Tensor {
  const { device } = desirable
  return op.where(desirable, scalar(desirableWeight, device), scalar(undesirableWeight, device))
}

function scalar(weight: number | 'auto', device: Device): Tensor {
  if (weight === 'auto') throw new Error('desirableWeight and undesirableWeight are auto: resolveWeights() comes first')
  return op.full([], weight, 'float32', undefined, device)
}

/** +1 for desirable, -1 for undesirable rows, [rows] float32. */
export function signs(desirable: Tensor): Tensor {
  return desirable.to('float32').mul(2).sub(1)
}

/** Where lambda_D n_D / (lambda_U n_U) should lie: Eq. 9 of arXiv 2402.01306 in its later versions; its first has [1, 4/3]. */
export const advisedRatio = { low: 1, high: 3 / 2 }

/**
 * Puts numbers for weights that are `auto`: the smallest change from 1 that brings lambda_D n_D / (lambda_U n_U) into the advised range.
 * `desirable` and `undesirable` count rows, or sum their own weights. With one kind only, the weights stay 1.
 */
export function resolveWeights(
  { desirableWeight, undesirableWeight }: Weights,
  { desirable, undesirable }: { desirable: number; undesirable: number },
): { desirableWeight: number; undesirableWeight: number } {
  const lambdaD = desirableWeight === 'auto' ? 1 : desirableWeight
  const lambdaU = undesirableWeight === 'auto' ? 1 : undesirableWeight
  const ratio = (lambdaD * desirable) / (lambdaU * undesirable)
  if (!Number.isFinite(ratio) || ratio === 0) return { desirableWeight: lambdaD, undesirableWeight: lambdaU }
  const factor = Math.min(Math.max(ratio, advisedRatio.low), advisedRatio.high) / ratio // what lambda_D / lambda_U changes by
  const movable = { D: desirableWeight === 'auto', U: undesirableWeight === 'auto' }
  if (!movable.D && !movable.U) return { desirableWeight: lambdaD, undesirableWeight: lambdaU }
  // A weight is raised rather than the other lowered, where both may move.
  return (factor > 1 ? movable.D : !movable.U)
    ? { desirableWeight: lambdaD * factor, undesirableWeight: lambdaU }
    : { desirableWeight: lambdaD, undesirableWeight: lambdaU / factor }
}

/** Sums of the rows' own weights, by label, as data.json has them. */
export interface WeightSums {
  desirableWeight: number
  undesirableWeight: number
}

/** The loss with numbers for weights that are `auto`: those that balance the rows, or 1 where these are not known. */
export function withResolvedWeights<L extends Partial<Weights>>(loss: L, rows: WeightSums | null): L & WeightSums {
  const { desirableWeight = 1, undesirableWeight = 1 } = loss
  if (desirableWeight !== 'auto' && undesirableWeight !== 'auto') return loss as L & WeightSums
  const counts = { desirable: rows?.desirableWeight ?? 1, undesirable: rows?.undesirableWeight ?? 1 }
  return { ...loss, ...resolveWeights({ desirableWeight, undesirableWeight }, counts) }
}

/** What was chosen, for people to read. */
export function balanceText(
  { desirableWeight, undesirableWeight }: WeightSums,
  { desirable, undesirable }: { desirable: number; undesirable: number },
): string {
  const short = (value: number) => String(Number(value.toPrecision(4)))
  const weights = `desirable weight ${short(desirableWeight)}, undesirable weight ${short(undesirableWeight)}`
  if (desirable === 0 || undesirable === 0) return `weights: ${weights}, since the rows are of one kind only`
  const [before, after] = [desirable / undesirable, (desirableWeight * desirable) / (undesirableWeight * undesirable)]
  return `weights: ${weights}: lambda_D n_D / (lambda_U n_U) is ${short(after)}, was ${short(before)} (advised: 1 to 1.5)`
}
