import { op } from '../tensor/operators.ts'
import type { Objective, TokenTargets } from './objective.ts'
import type { Settings } from './options.ts'
import { clippedLosses } from './ppo.ts'
import { humanlineClamp, logRatios, sumByRow } from './ratio.ts'

/**
 * Offline PPO-Clip with a learned value head, as the authors of arXiv 2402.01306 have it in their code (HALOs, `PPOTrainer`): the reward, +1 or -1, comes
 * at a completion's last token; advantages are those of generalised advantage estimation (arXiv 1506.02438, Eq. 16) over the values V of the
 * states before each token, brought to mean 0 and variance 1 over all tokens of the batch; and the loss is `ppo`'s plus
 * k (V - R)^2 / 2, averaged over tokens, R being the discounted reward to come. The gradient of V goes to the head only.
 */
export function ppoValue(settings: Settings): Objective {
  const clamp = humanlineClamp(settings)
  return {
    name: 'ppo-value',
    needs: { labels: true, pairs: false, reference: true, mismatched: false, tokens: true, values: true },
    averagedOver: 'tokens',
    losses(rows) {
      const { values, targets } = rows.tokens!
      const error = op.square(values!.sub(targets!.returns)).mul(0.5 * settings.criticCoefficient)
      return sumByRow(clippedLosses(rows, targets!.advantages, settings).add(error), rows)
    },
    logRatios: (rows) => logRatios(rows, clamp),
    rewardScale: 1,
    tokenTargets(values, desirable) {
      const rows = values.map((row, i) => estimates(row, desirable[i] ? 1 : -1, settings))
      return {
        advantages: normalised(rows.map(({ advantages }) => advantages)),
        returns: rows.map((row) => row.returns),
      }
    },
  }
}

/** Advantages of a row's tokens, as yet not normalised, and its discounted rewards to come. */
function estimates(values: Float32Array, reward: number, { discount, advantageDecay }: Settings) {
  const advantages = new Array<number>(values.length)
  const returns = new Float32Array(values.length)
  let [advantage, toCome] = [0, 0]
  for (let token = values.length - 1; token >= 0; token--) {
    const last = token === values.length - 1
    const surprise = (last ? reward : discount * values[token + 1]!) - values[token]!
    advantage = surprise + discount * advantageDecay * advantage
    toCome = last ? reward : discount * toCome
    advantages[token] = advantage
    returns[token] = toCome
  }
  return { advantages, returns }
}

/** All together with mean 0 and variance 1, as far as they differ. */
function normalised(rows: readonly number[][]): TokenTargets['advantages'] {
  const all = rows.flat()
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length
  const variance = all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / all.length
  const scale = 1 / Math.sqrt(variance + 1e-8)
  return rows.map((row) => Float32Array.from(row, (value) => (value - mean) * scale))
}
