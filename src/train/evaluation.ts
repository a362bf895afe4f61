import { setImmediate } from 'node:timers/promises'
import type { Plan } from '../data/plan.ts'
import type { Example, Sequence } from '../data/types.ts'
import { estimateReferencePoint } from '../loss/kto.ts'
import type { ReferencePoint } from '../loss/objective.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { batchOf, type ReferenceLogps } from './batches.ts'
import { sequenceLogps, withComputeWeights } from './passes.ts'
import { areaUnderCurve, rewardStatistics } from './rewards.ts'
import type { Evaluation, Progress } from './run.ts'
import { sequencesOf, type Trainer } from './step.ts'

/** Held-out rows, in batches, with their log-probabilities under the reference where the objective needs them. */
export interface HeldOut {
  examples: readonly Example[]
  plan: Plan
  reference: ReferenceLogps | null
}

/** Scores all held-out rows, with one reference point over all of them. Stops with the signal's reason between batches. */
export async function evaluate(
  trainer: Trainer,
  heldOut: HeldOut,
  { progress, signal }: { progress?: Progress; signal?: AbortSignal },
): Promise<Evaluation> {
  const { examples, plan, reference } = heldOut
  const { decoder, compute, microBatchTokens } = trainer
  const bar = progress?.start(examples.length, 'evaluation')
  const rows: Example[] = []
  const policy: number[] = []
  const referenceLogps: number[] = []
  const logRatios: number[] = []
  try {
    await withComputeWeights(decoder, compute, async (weights) => {
      for (let step = 0; step < plan.steps; step++) {
        signal?.throwIfAborted()
        const batch = batchOf(plan, step, examples, reference)
        const logps = (sequences: readonly Sequence[]) => sequenceLogps(decoder, weights, sequences, microBatchTokens)
        policy.push(...logps(sequencesOf(batch.rows)))
        logRatios.push(...logps(batch.mismatched).map((value, i) => value - batch.mismatchedReferenceLogps[i]!))
        rows.push(...batch.rows)
        referenceLogps.push(...batch.referenceLogps)
        bar?.update(rows.length)
        await setImmediate()
      }
    })
  } finally {
    bar?.stop()
  }
  const referencePoint = trainer.objective.needs.mismatched ? estimateReferencePoint(logRatios) : null
  return score(trainer, { rows, policy, referenceLogps, referencePoint })
}

interface Scored {
  rows: readonly Example[]
  policy: readonly number[]
  referenceLogps: readonly number[]
  referencePoint: ReferencePoint | null
}

function score({ objective }: Trainer, { rows, policy, referenceLogps, referencePoint }: Scored): Evaluation {
  const labels = rows.map(({ desirable }) => desirable)
  return scope(() => {
    const inputs = {
      policy: Tensor.from(Float32Array.from(policy)),
      reference: objective.needs.reference ? Tensor.from(Float32Array.from(referenceLogps)) : null,
      desirable: Tensor.from(Uint8Array.from(labels, Number), [rows.length], 'bool'),
    }
    const tokens = rows.reduce((sum, { completion }) => sum + completion.length, 0)
    const divisor = objective.averagedOver === 'rows' ? rows.length : tokens
    const rewards = objective.rewards(inputs)?.toArray() ?? null
    // The reference point has no unit of reward until it is scaled as one: a completion whose log-ratio is z0.
    const threshold = referencePoint ? rewardAt(objective.rewards, referencePoint.value) : 0
    return {
      rows: rows.length,
      loss: objective.losses(inputs, referencePoint).sum().div(divisor).item(),
      rewards: rewards && rewardStatistics(rewards, labels, threshold),
      areaUnderCurve: rewards && areaUnderCurve(rewards, labels),
    }
  })
}

/** The implicit reward of a completion with this log-ratio. */
export function rewardAt(rewards: Trainer['objective']['rewards'], logRatio: number): number {
  return scope(() => {
    const zero = Tensor.from(Float32Array.of(0))
    const desirable = Tensor.from(Uint8Array.of(1), [1], 'bool')
    return rewards({ policy: Tensor.from(Float32Array.of(logRatio)), reference: zero, desirable })?.item() ?? 0
  })
}
