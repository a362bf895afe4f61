import { join } from 'node:path'
import type { Decoder, Weights } from '../model/decoder.ts'
import { op } from '../tensor/operators.ts'
import { readSafetensors, type WriteTensors } from '../tensor/safetensors.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import { logpsOf, sharingPrompts } from './reference.ts'
import { type Batch, sequencesOf, type Trainer } from './step.ts'

/** When and how the reference follows the policy. */
export interface ReferenceSync {
  /** After how many steps; never where it is left out. */
  every?: number | undefined
  /** alpha: what share of the policy the new reference is. */
  mixing: number
}

const file = 'reference.safetensors'

/**
 * A reference model in memory, frozen, or following the policy: reference <- alpha policy + (1 - alpha) reference every so many steps (TR-DPO,
 * Eq. 3 and 4 of arXiv 2404.09656). It is what there is where log-probabilities cannot be computed ahead.
 */
export class LiveReference {
  readonly #decoder: Decoder
  readonly #trainer: Pick<Trainer, 'objective' | 'compute' | 'microBatchTokens'>
  readonly #sync: ReferenceSync
  #weights: Weights

  /** Takes `decoder` over: one with the weights that the reference starts from, and nobody else's. */
  constructor(
    decoder: Decoder,
    trainer: Pick<Trainer, 'objective' | 'compute' | 'microBatchTokens'>,
    sync: ReferenceSync,
  ) {
    this.#decoder = decoder
    this.#trainer = trainer
    this.#sync = sync
    this.#weights = this.#cast()
  }

  /** The batch with its log-probabilities under the reference as it is now. */
  fill(batch: Batch): Batch {
    const { objective, microBatchTokens } = this.#trainer
    const { tokens, pairs } = objective.needs
    const job = { tokens, microBatchTokens }
    // As a step of the policy does it, so that an untrained one gives the same bits.
    const [rows, mismatched] = sharingPrompts((known) => [
      logpsOf(job, this.#decoder, this.#weights, sequencesOf(batch.rows, { pairs }), null, known),
      logpsOf(job, this.#decoder, this.#weights, batch.mismatched, known),
    ])
    return {
      ...batch,
      referenceLogps: rows.sums,
      mismatchedReferenceLogps: mismatched.sums,
      ...(tokens && { referenceTokens: rows.tokens!, mismatchedReferenceTokens: mismatched.tokens! }),
    }
  }

  /** Moves towards the policy where that is due after `done` steps; says whether it was. */
  follow(policy: Decoder, done: number): boolean {
    const { every, mixing } = this.#sync
    if (every === undefined || done % every !== 0) return false
    noGrad(() =>
      scope(() => {
        for (const [name, target] of this.#decoder.trainable) {
          op.mulScalarInPlace(target, 1 - mixing)
          op.addInPlace(target, policy.trainable.get(name)!, mixing)
        }
      }),
    )
    this.#recast()
    return true
  }

  /** Keeps its weights in a checkpoint's folder, where they are not those that it started from. */
  write(folder: string, write: WriteTensors): void {
    if (this.#sync.every !== undefined) write(join(folder, file), [...this.#decoder.trainable])
  }

  /** Takes the weights of a checkpoint. */
  restore(folder: string): void {
    if (this.#sync.every === undefined) return
    const { tensors } = readSafetensors(join(folder, file))
    noGrad(() =>
      scope(() => {
        for (const [name, target] of this.#decoder.trainable) op.copyInPlace(target, tensors.get(name)!.load())
      }),
    )
    this.#recast()
  }

  dispose(): void {
    this.#disposeWeights()
    this.#decoder.dispose()
  }

  #cast(): Weights {
    return noGrad(() => scope(() => this.#decoder.computeWeights(this.#trainer.compute)))
  }

  #recast(): void {
    this.#disposeWeights()
    this.#weights = this.#cast()
  }

  #disposeWeights(): void {
    this.#decoder.disposeWeights(this.#weights)
  }
}
