import { withResolvedWeights } from '../../loss/weights.ts'
import { panelSvgs } from '../../plot/run.ts'
import { rowValuesSvg } from '../../plot/value.ts'
import type { Pictures, RunFiles } from './page.ts'
import { valueCurve } from './value-curve.ts'

/** The plots of `prospect plot`, of one run. */
export async function pictures(run: RunFiles): Promise<Pictures> {
  return { curves: await panelSvgs(run.metrics, run.evaluations), value: await valuePicture(run) }
}

/** Held-out rows laid on what the objective says that rewards are worth; null where rows have no worth by themselves. */
async function valuePicture({ options: { loss }, facts, evaluations }: RunFiles): Promise<Pictures['value']> {
  const spread = evaluations.at(-1)?.rewardDeciles
  const beta = 'beta' in loss && loss.beta ? loss.beta : 1
  const ofReward = (reward: number) => (reward - (spread?.threshold ?? 0)) / beta
  const places = [...(spread?.desirable ?? []), ...(spread?.undesirable ?? [])].map((reward) =>
    Math.abs(ofReward(reward)),
  )
  const furthest = Math.max(8 / beta, ...places)
  const curve = valueCurve(withResolvedWeights(loss, facts?.train ?? null), furthest)
  if (!curve) return null
  const last = curve.z.length - 1
  const kinds = ['desirable', 'undesirable'] as const
  const named = { desirable: 'thumbs-up row', undesirable: 'thumbs-down row' }
  const svg = await rowValuesSvg({
    curves: kinds.map((kind) => ({
      name: named[kind],
      points: curve.z.map((z, i) => ({ z, value: curve[kind][i]! })),
    })),
    deciles: kinds.map((kind) => ({
      name: named[kind],
      points: (spread?.[kind] ?? []).map(ofReward).map((z) => ({
        z,
        value: curve[kind][Math.round(((z / furthest + 1) / 2) * last)]!,
      })),
    })),
  })
  const dots = spread ? '; dots: deciles of held-out rows' : ''
  return { title: `What a row is worth to the objective, by log-ratio against z0${dots}`, svg }
}
