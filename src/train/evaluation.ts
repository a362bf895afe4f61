import { setImmediate } from 'node:timers/promises'
import { microBatches } from '../data/pack.ts'
import type { Plan } from '../data/plan.ts'
import type { Example } from '../data/types.ts'
import { implicitRewards, type Objective, type ReferencePoint } from '../loss/objective.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { batchOf, type ReferenceLogps } from './batches.ts'
import { sequenceValues } from './critic.ts'
import { sequenceLogps, sequenceTokenLogps, tokenSums, withComputeWeights } from './passes.ts'
import { areaUnderCurve, deciles, rewardStatistics } from './rewards.ts'
import { concatenated, lossRows, lossWeights, pairPositions } from './rows.ts'
import type { Evaluation, Progress } from './run.ts'
import { divisorOf, mismatchedLogRatios, sequencesOf, type Trainer } from './step.ts'

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
  const { decoder, compute, microBatchTokens, objective, critic } = trainer
  const bar = progress?.start(examples.length, 'evaluation')
  const all: Scored = {
    rows: [],
    policy: [],
    policyTokens: [],
    values: [],
    reference: [],
    referenceTokens: [],
    mismatched: [],
  }
  try {
    await withComputeWeights(decoder, compute, async (weights) => {
      for (let step = 0; step < plan.steps; step++) {
        signal?.throwIfAborted()
        const batch = batchOf(plan, step, examples, reference)
        const sequences = sequencesOf(batch.rows)
        const tokens = objective.needs.tokens ? sequenceTokenLogps(decoder, weights, sequences, microBatchTokens) : null
        all.policyTokens.push(...(tokens ?? []))
        all.policy.push(...(tokens ? tokenSums(tokens) : sequenceLogps(decoder, weights, sequences, microBatchTokens)))
        if (objective.needs.values)
          all.values.push(...sequenceValues(decoder, weights, critic!, microBatches(sequences, microBatchTokens)))
        all.mismatched.push(...mismatchedLogRatios(trainer, weights, batch))
        all.rows.push(...batch.rows)
        all.reference.push(...batch.referenceLogps)
        all.referenceTokens.push(...(batch.referenceTokens ?? []))
        bar?.update(all.rows.length)
        await setImmediate()
      }
    })
  } finally {
    bar?.stop()
  }
  return score(trainer, all)
}

interface Scored {
  rows: Example[]
  policy: number[]
  /** Token by token where the objective needs that, else empty. */
  policyTokens: Float32Array[]
  /** Of the states before these tokens, where it needs that, else empty. */
  values: Float32Array[]
  reference: number[]
  referenceTokens: Float32Array[]
  /** r of the mismatched completions. */
  mismatched: number[]
}

function score({ objective, objectiveState }: Trainer, scored: Scored): Evaluation {
  const { needs } = objective
  const { rows } = scored
  const labels = rows.map(({ desirable }) => desirable)
  return scope(() => {
    const policy = {
      sums: Tensor.from(Float32Array.from(scored.policy)),
      tokens: needs.tokens ? Tensor.from(concatenated(scored.policyTokens)) : null,
      values: needs.values ? Tensor.from(concatenated(scored.values)) : null,
    }
    const reference = { sums: scored.reference, tokens: needs.tokens ? scored.referenceTokens : null }
    const targets = objective.tokenTargets?.(scored.values, labels) ?? null
    const inputs = lossRows(needs, rows, policy, needs.reference ? reference : null, targets)
    const state = objectiveState ?? objective.initialState ?? {}
    const point = objective.referencePoint?.(scored.mismatched, state) ?? null
    const losses = objective.losses(inputs, point)
    const weights = lossWeights(needs, rows)
    const rewards = implicitRewards(objective, inputs)?.toArray() ?? null
    const pairs = needs.pairs ? pairPositions(rows) : null
    return {
      rows: rows.length,
      loss: (weights ? losses.mul(weights) : losses).sum().div(divisorOf(objective, rows)).item(),
      rewards: rewards && rewardStatistics(rewards, labels, thresholdOf(objective, point), pairs),
      areaUnderCurve: rewards && areaUnderCurve(rewards, labels),
      rewardDeciles: rewards && {
        desirable: deciles(rewards, labels, true),
        undesirable: deciles(rewards, labels, false),
        threshold: thresholdOf(objective, point),
      },
    }
  })
}

/** The implicit reward of a completion at the reference point. */
export function thresholdOf({ rewardScale }: Objective, point: ReferencePoint | null): number {
  return point ? rewardScale * point.value : 0
}
