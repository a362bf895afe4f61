import { microBatches, type Packed, pack, packedTokens } from '../data/pack.ts'
import type { Mismatch } from '../data/plan.ts'
import { Random } from '../data/random.ts'
import type { Example, Sequence } from '../data/types.ts'
import type { Objective, ObjectiveState, ReferencePoint, TokenTargets } from '../loss/objective.ts'
import type { LayerKeys } from '../model/attention.ts'
import type { Decoder, Weights } from '../model/decoder.ts'
import { Tape } from '../model/tape.ts'
import { readTogether } from '../tensor/device.ts'
import { scope } from '../tensor/scope.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import { type Critic, intoRows, sequenceValues, targetsOf } from './critic.ts'
import type { AdamW } from './optimizer.ts'
import { namingMicroBatch } from './out-of-memory.ts'
import { KnownPrompts, sequenceLogps, sequenceTokenLogps, tokenSums } from './passes.ts'
import { concatenated, lossRows, lossWeights, pairPositions, sumsOfRows } from './rows.ts'

/** What a step works on and with. */
export interface Trainer {
  decoder: Decoder
  objective: Objective
  /** What the objective remembers; its initial state where there is none yet. */
  objectiveState?: ObjectiveState
  optimizer: AdamW
  /** Where the objective needs values. */
  critic?: Critic | null
  /** Type of matrix products. */
  compute: Dtype
  /** Tokens of one forward and backward pass, at most (a longer row goes alone). */
  microBatchTokens: number
  /** Of each block only the input is kept, and the rest is computed again in the backward pass. */
  gradientCheckpointing?: boolean
  /** Seed of the adapter's dropout; 0 where it is left out. */
  seed?: number
  /** Called before weights are changed. */
  beforeUpdate?: () => void
}

/** One global batch. Log-probabilities under the reference are empty where the objective needs none. */
export interface Batch {
  rows: readonly Example[]
  referenceLogps: Float32Array
  /** Each row's prompt with another's completion; shorter than `rows` where some row has no partner. */
  mismatched: readonly Sequence[]
  /** Which row and which completion each of these is of, where that is known. */
  mismatches?: readonly Mismatch[]
  mismatchedReferenceLogps: Float32Array
  /** Both token by token, where the objective needs that. */
  referenceTokens?: readonly Float32Array[]
  mismatchedReferenceTokens?: readonly Float32Array[]
}

export interface StepResult {
  /** Mean over rows, pairs or completion tokens, as the objective says. */
  loss: number
  /** Each row's log-ratio r, implicit reward beta r, and log-probability, in the batch's order. */
  logRatios: Float32Array | null
  rewards: Float32Array | null
  logps: Float32Array
  referencePoint: ReferencePoint | null
  gradNorm: number
  /** Rows that made loss or gradient not finite: then nothing was updated. null where all is well. */
  notFinite: Example[] | null
  /** Tokens of the data that were worked on: prompts and completions of the rows. */
  tokens: number
}

/** The error that ends a run whose loss or gradient is not finite again and again. */
export class NotFiniteError extends Error {}

/**
 * Gradients of a global batch, added to the parameters'. The result does not depend on how the batch is cut into micro-batches: the
 * reference point is that of the whole batch, and every row's loss is divided by the size of the whole batch.
 */
export function accumulateGradients(trainer: Trainer, batch: Batch): Omit<StepResult, 'gradNorm' | 'notFinite'> {
  return scope(() => {
    const { decoder, objective, compute, microBatchTokens } = trainer
    const weights = decoder.computeWeights(compute)
    const micros = microBatches(sequencesOf(batch.rows, objective.needs), microBatchTokens)
    // A batch that is one micro-batch is computed once, and its prompts' keys and values serve the mismatched completions.
    // With dropout they would not do: the reference point drops nothing.
    const drops = (decoder.adapter?.config.dropout ?? 0) > 0
    const joint = micros.length === 1 && !drops && (objective.needs.mismatched || objective.needs.values)
    const naming = <R>(i: number, work: () => R) => {
      const [of, rows] = [micros.length, micros[i]!.length]
      const size = () => ({ number: i + 1, of, rows, tokens: packedTokens(micros[i]!), microBatchTokens })
      return namingMicroBatch(decoder.device, size, work)
    }
    const { only, referencePoint } = joint
      ? naming(0, () => jointPass(trainer, weights, batch, micros[0]!))
      : { only: null, referencePoint: referencePointOf(trainer, weights, batch) }
    const into: Accumulator = {
      referencePoint,
      targets: tokenTargetsOf(trainer, weights, batch, micros, only),
      divisor: divisorOf(objective, batch.rows),
      logRatios: new Float32Array(batch.rows.length).fill(Number.NaN),
      logps: new Float32Array(batch.rows.length),
    }
    const passes = micros.map((micro, i) => {
      const work = () => {
        const pass = only ?? policyPass(trainer, weights, batch, pack(micro))
        // The last backward pass makes again what it needs of copies, one at a time; a tape computes a block with those that are there.
        const last = i === micros.length - 1
        if (last) decoder.disposeWeights(weights, pass.tape ? null : undefined)
        return backwardPass(
          trainer,
          batch,
          pass,
          into,
          last ? (block) => decoder.disposeWeights(weights, block) : undefined,
        )
      }
      return naming(i, () => scope(work))
    })
    const loss = collect(passes, into) // once all is under way: a GPU is waited for once
    const logRatios = into.hasLogRatios ? into.logRatios : null
    const rewards = logRatios?.map((ratio) => ratio * objective.rewardScale) ?? null
    return { loss, logRatios, rewards, logps: into.logps, referencePoint, tokens: totalTokens(batch.rows) }
  })
}

/** One optimiser step on a global batch; `factor` scales the learning rate. Where loss or gradient are not finite, nothing is changed. */
export function trainStep(trainer: Trainer, batch: Batch, factor: number): StepResult {
  const result = accumulateGradients(trainer, batch)
  const gradNorm = trainer.optimizer.gradientNorm()
  if (!Number.isFinite(result.loss) || !hasFiniteGradients(trainer, gradNorm)) {
    clearGradients(trainer)
    return { ...result, gradNorm, notFinite: notFiniteRows(trainer, batch) }
  }
  trainer.beforeUpdate?.()
  trainer.optimizer.update(factor, gradNorm)
  trainer.critic?.update(factor)
  rememberStep(trainer, batch, result)
  return { ...result, gradNorm, notFinite: null }
}

/** The rows (with pairs, both of one) whose loss or gradient is not finite by itself, found one by one. */
function notFiniteRows(trainer: Trainer, batch: Batch): Example[] {
  const units = trainer.objective.needs.pairs
    ? pairPositions(batch.rows).map(({ chosen, rejected }) => [chosen, rejected])
    : batch.rows.map((_, row) => [row])
  return units.flatMap((unit) => {
    const { loss } = accumulateGradients(trainer, partOf(batch, unit))
    const finite = Number.isFinite(loss) && hasFiniteGradients(trainer)
    clearGradients(trainer)
    return finite ? [] : unit.map((row) => batch.rows[row]!)
  })
}

function hasFiniteGradients({ optimizer, critic }: Trainer, gradNorm = optimizer.gradientNorm()): boolean {
  return Number.isFinite(gradNorm) && (!critic || Number.isFinite(critic.gradientNorm()))
}

function clearGradients({ optimizer, critic }: Trainer): void {
  optimizer.clearGradients()
  critic?.clearGradients()
}

/** Some rows of a batch, without mismatched ones. */
function partOf({ rows, referenceLogps, referenceTokens }: Batch, unit: readonly number[]): Batch {
  return {
    rows: unit.map((row) => rows[row]!),
    referenceLogps: Float32Array.from(referenceLogps.length > 0 ? unit : [], (row) => referenceLogps[row]!),
    mismatched: [],
    mismatchedReferenceLogps: new Float32Array(),
    ...(referenceTokens && { referenceTokens: unit.map((row) => referenceTokens[row]!) }),
  }
}

/** What an objective that remembers makes of a step that was applied. */
function rememberStep(
  trainer: Trainer,
  { rows }: Batch,
  { logRatios, referencePoint }: Pick<StepResult, 'logRatios' | 'referencePoint'>,
): void {
  const { objective } = trainer
  if (!objective.nextState) return
  const desirable = rows.map((row) => row.desirable)
  trainer.objectiveState = objective.nextState(stateOf(trainer), { logRatios, desirable, referencePoint })
}

function stateOf({ objective, objectiveState }: Trainer): ObjectiveState {
  return objectiveState ?? objective.initialState ?? {}
}

/** The policy's pass over a batch that is one micro-batch, and the reference point, from completions that see the prompts of that pass. */
function jointPass(trainer: Trainer, weights: Weights, batch: Batch, micro: readonly Sequence[]) {
  const known = new KnownPrompts()
  try {
    const only = policyPass(trainer, weights, batch, known.keeping(pack(micro)))
    return { only, referencePoint: referencePointOf(trainer, weights, batch, known) }
  } finally {
    known.dispose()
  }
}

/**
 * The reference point of a batch, from all its mismatched completions where the objective needs them. Prompts in `known` are not computed
 * again.
 */
export function referencePointOf(
  trainer: Trainer,
  weights: Weights,
  batch: Batch,
  known: KnownPrompts | null = null,
): ReferencePoint | null {
  const { objective } = trainer
  if (!objective.referencePoint) return null
  const ratios = objective.needs.mismatched ? mismatchedLogRatios(trainer, weights, batch, known) : []
  return objective.referencePoint(ratios, stateOf(trainer), batch.mismatches)
}

/** r of each mismatched completion. */
export function mismatchedLogRatios(
  { decoder, objective, microBatchTokens }: Trainer,
  weights: Weights,
  { mismatched, mismatchedReferenceLogps, mismatchedReferenceTokens }: Batch,
  known: KnownPrompts | null = null,
): Float32Array {
  if (mismatched.length === 0) return new Float32Array()
  const tokens = objective.needs.tokens
    ? sequenceTokenLogps(decoder, weights, mismatched, microBatchTokens, known)
    : null
  const sums = tokens ? tokenSums(tokens) : sequenceLogps(decoder, weights, mismatched, microBatchTokens, known)
  const rows = mismatched.map(({ completion }) => ({ completion, desirable: true }))
  return scope(() => {
    const policy = { sums: Tensor.from(sums), tokens: tokens && Tensor.from(concatenated(tokens)) }
    const reference = { sums: mismatchedReferenceLogps, tokens: mismatchedReferenceTokens ?? null }
    return objective.logRatios(lossRows({ ...objective.needs, pairs: false }, rows, policy, reference))!.toArray()
  })
}

/** Where the objective needs values: the targets of all rows, from what the head says of them before the step. */
function tokenTargetsOf(
  { decoder, objective, critic }: Trainer,
  weights: Weights,
  { rows }: Batch,
  micros: readonly Sequence[][],
  only: PolicyPass | null,
): TokenTargets | null {
  if (!objective.tokenTargets) return null
  const values: Float32Array[] = []
  if (only) intoRows(only.values!.detach().toArray(), micros[0]!, only.rows, values)
  else values.push(...sequenceValues(decoder, weights, critic!, micros))
  const labels = rows.map(({ desirable }) => desirable)
  return objective.tokenTargets(values, labels)
}

interface Accumulator {
  referencePoint: ReferencePoint | null
  targets: TokenTargets | null
  divisor: number
  logRatios: Float32Array
  /** Whether the objective defines them. */
  hasLogRatios?: boolean
  logps: Float32Array
}

/** What the policy says of a micro-batch, with gradient, and which rows of the batch it is of. */
interface PolicyPass {
  rows: number[]
  examples: Example[]
  sums: Tensor
  tokens: Tensor | null
  values: Tensor | null
  /** Where it has one, backward goes through it. */
  tape: Tape | undefined
}

/** What a pass leaves to be read. */
interface Outcome {
  rows: readonly number[]
  loss: Tensor
  sums: Tensor
  logRatios: Tensor | null
}

function policyPass(
  { decoder, objective, optimizer, critic, gradientCheckpointing, seed = 0 }: Trainer,
  weights: Weights,
  batch: Batch,
  packed: Packed & { keep?: LayerKeys },
): PolicyPass {
  const rows = Array.from(packed.rows)
  const examples = rows.map((row) => batch.rows[row]!)
  const tape = gradientCheckpointing ? new Tape() : undefined
  const training = { tape, dropoutSeed: new Random('dropout', seed, optimizer.step).below(2 ** 31) }
  const outputs = objective.needs.tokens ? decoder.tokenOutputs(weights, packed, training) : null
  const tokens = outputs?.logps ?? null
  const values = objective.needs.values ? critic!.values(outputs!.states) : null
  const sums = tokens ? sumsOfRows(tokens, examples) : decoder.completionLogps(weights, packed, rows.length, training)
  return { rows, examples, sums, tokens, values, tape }
}

function backwardPass(
  { objective }: Trainer,
  batch: Batch,
  { rows, examples, sums, tokens, values, tape }: PolicyPass,
  into: Accumulator,
  blockDone?: (block: number) => void,
): Outcome {
  const { needs } = objective
  const reference = referenceOf(batch, rows, needs.reference)
  const targets = into.targets && targetsOf(into.targets, rows)
  const inputs = lossRows(needs, examples, { sums, tokens, values }, reference, targets)
  const losses = objective.losses(inputs, into.referencePoint)
  const rowWeights = lossWeights(needs, examples, sums.device)
  const loss = (rowWeights ? losses.mul(rowWeights) : losses).sum().div(into.divisor)
  if (tape) tape.backward(loss, blockDone)
  else loss.backward()
  const logRatios = objective.logRatios(inputs)
  return { rows, loss: loss.detach(), sums: sums.detach(), logRatios: logRatios?.detach() ?? null }
}

/** Reads what the passes of a step gave, puts rows in the batch's order, and adds up the loss. */
function collect(passes: readonly Outcome[], into: Accumulator): number {
  const values = readTogether(
    passes.flatMap(({ loss, sums, logRatios }) => (logRatios ? [loss, sums, logRatios] : [loss, sums])),
  )
  let [at, total] = [0, 0]
  for (const { rows, logRatios } of passes) {
    total += values[at++]![0]!
    scatter(values[at++]!, rows, into.logps)
    if (logRatios) scatter(values[at++]!, rows, into.logRatios)
    into.hasLogRatios = logRatios !== null
  }
  return total
}

function referenceOf({ referenceLogps, referenceTokens }: Batch, rows: readonly number[], needed: boolean) {
  if (!needed) return null
  return {
    sums: rows.map((row) => referenceLogps[row]!),
    tokens: referenceTokens ? rows.map((row) => referenceTokens[row]!) : null,
  }
}

function scatter(values: Float32Array, rows: readonly number[], into: Float32Array): void {
  rows.forEach((row, i) => {
    into[row] = values[i]!
  })
}

/** Each row's own prompt and completion; with pairs, both of one are a unit. */
export function sequencesOf(rows: readonly Example[], { pairs }: { pairs: boolean } = { pairs: false }): Sequence[] {
  return rows.map(({ prompt, completion, promptGroup, pair }, row) => ({
    prompt,
    completion,
    promptGroup,
    row,
    ...(pairs && { unit: pair }),
  }))
}

/** What the sum of a batch's losses is divided by. */
export function divisorOf({ averagedOver }: Objective, rows: readonly Example[]): number {
  if (averagedOver === 'tokens') return completionTokens(rows)
  return averagedOver === 'pairs' ? rows.length / 2 : rows.length
}

function completionTokens(rows: readonly Example[]): number {
  return rows.reduce((sum, { completion }) => sum + completion.length, 0)
}

function totalTokens(rows: readonly Example[]): number {
  return rows.reduce((sum, { prompt, completion }) => sum + prompt.length + completion.length, 0)
}
