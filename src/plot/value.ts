import { type LossOptions, makeObjective } from '../loss/index.ts'
import type { Objective } from '../loss/objective.ts'
import { commonDefaults } from '../loss/options.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { lossRows } from '../train/rows.ts'
import { svgOf } from './render.ts'

/** A value function: what a gain or loss of z = r - z0 is worth, drawn through the origin. */
export interface ValueCurve {
  name: string
  /** NaN where there is none. */
  value(z: number): number
}

export interface ValuePlotOptions {
  /** Objectives to draw beside the known ones, or alone. */
  losses?: readonly LossOptions[]
  /** Whether to draw those of Figure 2. */
  known?: boolean
  /** From -range to range. */
  range?: number
}

const logSigmoid = (z: number) => -Math.log1p(Math.exp(-z))
const sigmoid = (z: number) => 1 / (1 + Math.exp(-z))
const clip = 0.5
const { valueAlpha: alpha, valueLambda: lambda } = commonDefaults

/**
 * The value functions that losses imply (Figure 2 of arXiv 2402.01306), in units where beta = 1: of SLiC its hinge with margin 1; of PPO-Clip the clipped
 * ratio exp(z), above for a gain and below for a loss (proof of Theorem 3.5); of DPO log sigmoid(z), z being r_w - r_l; of KTO sigmoid(z); and what
 * Kahneman and Tversky found in people. All are moved so that the reference point is worth 0.
 */
export const knownCurves: readonly ValueCurve[] = [
  { name: `Kahneman-Tversky (alpha ${alpha}, lambda ${lambda})`, value: kahnemanTversky },
  { name: 'KTO', value: (z) => sigmoid(z) - 0.5 },
  { name: 'DPO', value: (z) => logSigmoid(z) - logSigmoid(0) },
  { name: `PPO-Clip (epsilon ${clip})`, value: clippedRatio },
  { name: 'SLiC (margin 1)', value: (z) => Math.min(z, 1) },
]

function kahnemanTversky(z: number): number {
  return z >= 0 ? z ** alpha : -lambda * (-z) ** alpha
}

function clippedRatio(z: number): number {
  return (z >= 0 ? Math.min(Math.exp(z), 1 + clip) : Math.max(Math.exp(z), 1 - clip)) - 1
}

/**
 * What an objective's own code makes of a desirable row, or of a pair, whose log-ratio, or difference of them, is z; with z0 = 0. Without a reference,
 * log-probabilities stand for log-ratios, and the rejected one of a pair is -1: where the chosen one would then be above 0, some objectives have no value.
 */
export function curveOf(loss: LossOptions): ValueCurve {
  const objective = makeObjective(loss)
  if (objective.averagedOver === 'tokens')
    throw new Error(`loss.type: ${loss.type} has no value function of r - z0: its loss is one of tokens`)
  const atZero = lossesAt(objective, [0])[0]!
  const options = Object.entries(loss).filter(([name, value]) => name !== 'type' && value !== undefined)
  const name = [loss.type, ...options.map(([key, value]) => `${key} ${value}`)].join(', ')
  const highest = objective.absolute ? -lowered(objective) : Number.POSITIVE_INFINITY
  return { name, value: (z) => (z > highest ? Number.NaN : atZero - lossesAt(objective, [z])[0]!) }
}

/** What log-probabilities are at log-ratio 0: below it, but where they are themselves what z is. */
function lowered({ needs }: Objective): number {
  return needs.reference || needs.pairs ? -1 : 0
}

/** Losses of desirable rows with these log-ratios, or of pairs whose chosen rows have them. */
function lossesAt(objective: Objective, ratios: readonly number[]): number[] {
  const { needs } = objective
  const each = needs.pairs ? [true, false] : [true]
  const rows = ratios.flatMap((_, pair) =>
    each.map((desirable) => ({ completion: new Int32Array(1), desirable, pair })),
  )
  const base = lowered(objective)
  const values = ratios.flatMap((ratio) => each.map((chosen) => (chosen ? base + ratio : base)))
  return noGrad(() =>
    scope(() => {
      const sums = Tensor.from(Float32Array.from(values))
      const reference = { sums: values.map(() => base), tokens: values.map(() => Float32Array.of(base)) }
      const given = lossRows(
        needs,
        rows,
        { sums, tokens: needs.tokens ? sums : null },
        needs.reference ? reference : null,
      )
      const point = { value: 0, mean: 0, standardError: 0, count: 0 }
      return Array.from(objective.losses(given, point).toArray())
    }),
  )
}

/** Value functions against r - z0, as the text of an SVG image. */
export async function valueFunctionsSvg({
  losses = [],
  known = true,
  range = 4,
}: ValuePlotOptions = {}): Promise<string> {
  const curves = [...(known ? knownCurves : []), ...losses.map(curveOf)]
  const count = 401
  const at = Array.from({ length: count }, (_, i) => range * ((2 * i) / (count - 1) - 1))
  const points = curves.flatMap(({ name, value }) => at.map((z) => ({ loss: name, z, value: value(z) })))
  const values = points.filter(({ value }) => Number.isFinite(value))
  return await svgOf({
    title: 'What a gain or loss against the reference point is worth',
    width: 560,
    height: 380,
    layer: [
      { data: { values: [{}] }, mark: { type: 'rule', color: '#888888' }, encoding: { x: { datum: 0 } } },
      { data: { values: [{}] }, mark: { type: 'rule', color: '#888888' }, encoding: { y: { datum: 0 } } },
      {
        data: { values },
        mark: { type: 'line', strokeWidth: 2.5, clip: true },
        encoding: {
          x: { field: 'z', type: 'quantitative', title: 'r - z0', scale: { domain: [-range, range], nice: false } },
          y: { field: 'value', type: 'quantitative', title: 'value', scale: { domain: [-range, range * 0.75] } },
          color: { field: 'loss', type: 'nominal', sort: null, title: null },
        },
      },
    ],
  })
}

/** What rows are worth to an objective, and where held-out rows lie on it: parallel values by the log-ratio against z0. */
export interface RowValues {
  curves: readonly { name: string; points: readonly { z: number; value: number }[] }[]
  /** Deciles of held-out rows, named as the curve that each is of. */
  deciles: RowValues['curves']
}

/** That as the text of an SVG image. */
export async function rowValuesSvg({ curves, deciles }: RowValues): Promise<string> {
  const flat = (all: RowValues['curves']) =>
    all.flatMap(({ name, points }) => points.map((point) => ({ name, ...point })))
  // Larger than elsewhere: a phone shows the image smaller than it is.
  const axis = { labelFontSize: 12, titleFontSize: 12 }
  const encoding = {
    x: { field: 'z', type: 'quantitative', title: 'log pi(y|x) - log pi_ref(y|x) - z0, in nats', axis },
    y: { field: 'value', type: 'quantitative', title: 'worth', axis },
    color: { field: 'name', type: 'nominal', sort: null, title: null, legend: { labelFontSize: 12 } },
  } as const
  return await svgOf({
    width: 300,
    height: 190,
    background: 'transparent',
    layer: [
      { data: { values: [{}] }, mark: { type: 'rule', color: '#888888' }, encoding: { x: { datum: 0 } } },
      { data: { values: flat(curves) }, mark: { type: 'line', strokeWidth: 2.5 }, encoding },
      { data: { values: flat(deciles) }, mark: { type: 'point', filled: true, size: 60, opacity: 1 }, encoding },
    ],
  })
}
