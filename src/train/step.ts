import { microBatches, pack } from '../data/pack.ts'
import type { Example, Sequence } from '../data/types.ts'
import { estimateReferencePoint } from '../loss/kto.ts'
import type { Objective, ReferencePoint } from '../loss/objective.ts'
import type { Decoder, Parameters } from '../model/decoder.ts'
import { scope } from '../tensor/scope.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import type { AdamW } from './optimizer.ts'
import { sequenceLogps } from './passes.ts'

/** What a step works on and with. */
export interface Trainer {
  decoder: Decoder
  objective: Objective
  optimizer: AdamW
  /** Type of matrix products. */
  compute: Dtype
  /** Tokens of one forward and backward pass, at most (a longer row goes alone). */
  microBatchTokens: number
}

/** One global batch. Log-probabilities under the reference are empty where the objective needs none. */
export interface Batch {
  rows: readonly Example[]
  referenceLogps: Float32Array
  /** Each row's prompt with another's completion; shorter than `rows` where some row has no partner. */
  mismatched: readonly Sequence[]
  mismatchedReferenceLogps: Float32Array
}

export interface StepResult {
  /** Mean over rows, or over completion tokens, as the objective says. */
  loss: number
  /** Each row's implicit reward and log-probability, in the batch's order. */
  rewards: Float32Array | null
  logps: Float32Array
  referencePoint: ReferencePoint | null
  gradNorm: number
  /** Tokens of the data that were worked on: prompts and completions of the rows. */
  tokens: number
}

/** The error that a step with a loss or gradient that is not finite throws; nothing was updated. */
export class NotFiniteError extends Error {}

/**
 * Gradients of a global batch, added to the parameters'. The result does not depend on how the batch is cut into micro-batches: the
 * reference point is that of the whole batch, and every row's loss is divided by the size of the whole batch.
 */
export function accumulateGradients(trainer: Trainer, batch: Batch): Omit<StepResult, 'gradNorm'> {
  return scope(() => {
    const { decoder, objective, compute, microBatchTokens } = trainer
    const weights = decoder.computeWeights(compute)
    const referencePoint = objective.needs.mismatched ? measureReferencePoint(trainer, weights, batch) : null
    const divisor = objective.averagedOver === 'rows' ? batch.rows.length : completionTokens(batch.rows)
    const rewards = objective.needs.reference ? new Float32Array(batch.rows.length) : null
    const logps = new Float32Array(batch.rows.length)
    let loss = 0
    for (const micro of microBatches(sequencesOf(batch.rows), microBatchTokens)) {
      loss += scope(() => backwardPass(trainer, weights, batch, micro, { referencePoint, divisor, rewards, logps }))
    }
    return { loss, rewards, logps, referencePoint, tokens: totalTokens(batch.rows) }
  })
}

/** One optimiser step on a global batch; `factor` scales the learning rate. Throws NotFiniteError before anything is changed. */
export function trainStep(trainer: Trainer, batch: Batch, factor: number): StepResult {
  const result = accumulateGradients(trainer, batch)
  const gradNorm = trainer.optimizer.gradientNorm()
  if (!Number.isFinite(result.loss) || !Number.isFinite(gradNorm)) {
    trainer.optimizer.clearGradients()
    const rows = [...result.logps].flatMap((value, row) => (Number.isFinite(value) ? [] : [originOf(batch.rows[row]!)]))
    const where = rows.length > 0 ? `; rows whose log-probability is not finite: ${rows.slice(0, 5).join(', ')}` : ''
    throw new NotFiniteError(
      `the loss is ${result.loss} and the gradient norm ${gradNorm}: the step was not applied${where}`,
    )
  }
  trainer.optimizer.update(factor, gradNorm)
  return { ...result, gradNorm }
}

function measureReferencePoint(
  { decoder, microBatchTokens }: Trainer,
  weights: Parameters,
  batch: Batch,
): ReferencePoint {
  const policy = sequenceLogps(decoder, weights, batch.mismatched, microBatchTokens)
  return estimateReferencePoint(policy.map((value, i) => value - batch.mismatchedReferenceLogps[i]!))
}

interface Accumulator {
  referencePoint: ReferencePoint | null
  divisor: number
  rewards: Float32Array | null
  logps: Float32Array
}

function backwardPass(
  { decoder, objective }: Trainer,
  weights: Parameters,
  batch: Batch,
  micro: readonly Sequence[],
  into: Accumulator,
): number {
  const packed = pack(micro)
  const rows = Array.from(packed.rows)
  const policy = decoder.completionLogps(weights, packed, rows.length)
  const reference = objective.needs.reference
    ? Tensor.from(Float32Array.from(rows, (row) => batch.referenceLogps[row]!))
    : null
  const desirable = Tensor.from(
    Uint8Array.from(rows, (row) => Number(batch.rows[row]!.desirable)),
    [rows.length],
    'bool',
  )
  const inputs = { policy, reference, desirable }
  const loss = objective.losses(inputs, into.referencePoint).sum().div(into.divisor)
  loss.backward()
  scatter(policy.detach().toArray(), rows, into.logps)
  const rewards = objective.rewards(inputs)
  if (rewards && into.rewards) scatter(rewards.toArray(), rows, into.rewards)
  return loss.detach().item()
}

function scatter(values: Float32Array, rows: readonly number[], into: Float32Array): void {
  rows.forEach((row, i) => {
    into[row] = values[i]!
  })
}

/** Each row's own prompt and completion. */
export function sequencesOf(rows: readonly Example[]): Sequence[] {
  return rows.map(({ prompt, completion, promptGroup }, row) => ({ prompt, completion, promptGroup, row }))
}

function completionTokens(rows: readonly Example[]): number {
  return rows.reduce((sum, { completion }) => sum + completion.length, 0)
}

function totalTokens(rows: readonly Example[]): number {
  return rows.reduce((sum, { prompt, completion }) => sum + prompt.length + completion.length, 0)
}

function originOf({ origin }: Example): string {
  return `${origin.file}:${origin.line}`
}
