import { BackgroundFiles } from '../tensor/background-files.ts'
import type { WriteTensors } from '../tensor/safetensors.ts'
import { writeCheckpoint } from './checkpoint.ts'
import type { Session } from './session.ts'

type Written = Pick<Session, 'source' | 'trainer' | 'liveReference' | 'directory' | 'options'>

/** A checkpoint that is being written. */
interface Pending {
  step: number
  files: BackgroundFiles
  /** Resolves where it has ended, well or not. */
  ended: Promise<void>
  error: unknown
}

/** Writes a run's checkpoints while it goes on, one at a time. */
export class CheckpointWriter {
  readonly #run: Written
  #pending: Pending | null = null

  constructor(run: Written) {
    this.#run = run
  }

  /** Begins to write what there is after `step` steps, once the one before is whole. */
  async start(step: number): Promise<void> {
    await this.finish()
    const { source, trainer, liveReference, directory, options } = this.#run
    const files = new BackgroundFiles()
    const extra = (folder: string, write: WriteTensors) => {
      liveReference?.write(folder, write)
      trainer.critic?.write(folder, write)
    }
    const { decoder, optimizer, objectiveState } = trainer
    const { keep } = options.checkpoint
    const state = { source, decoder, optimizer, objectiveState, extra, keep, files }
    const pending: Pending = { step, files, ended: Promise.resolve(), error: undefined }
    this.#pending = pending
    pending.ended = writeCheckpoint(directory.checkpoints, step, state).catch((error: unknown) => {
      pending.error = error
    })
  }

  /** Must be called before weights, moments or what else belongs to a checkpoint are changed. */
  detach(): void {
    if (this.#pending?.error === undefined) this.#pending?.files.detach()
  }

  /** Throws what went wrong with one that has ended. */
  check(): void {
    if (this.#pending?.error !== undefined) throw this.#pending.error
  }

  /** Waits for the one that is being written; throws what went wrong. */
  async finish(): Promise<void> {
    const pending = this.#pending
    await pending?.ended
    this.#pending = null
    if (pending?.error !== undefined) throw pending.error
  }

  /** Writes what there is after `step` steps, to the end, also where the one before could not be written. */
  async write(step: number): Promise<void> {
    await this.#pending?.ended
    const written = this.#pending?.step === step && this.#pending.error === undefined
    this.#pending = null
    if (!written) await this.start(step)
    await this.finish()
  }
}
