import { addon } from './addon.ts'
import { availableMemory } from './available-memory.ts'
import { fileContents, loadAnnounced, naming, type WriteTensors } from './safetensors.ts'
import { scope } from './scope.ts'

/**
 * Safetensors files written by a thread of their own, from tensors as they are when `write` is called. The tensors stay in use; before they are
 * changed, `detach` must be called.
 */
export class BackgroundFiles {
  readonly #writing = addon().newWriting()

  /** Takes down what a new file will hold: as writeSafetensors(), but nothing is written yet. A lazy tensor is made at once. */
  readonly write: WriteTensors = (path, tensors, metadata = {}) => {
    const { header, entries } = fileContents(path, tensors, metadata)
    scope(() => {
      const loaded = entries.map((entry) => naming(path, entry.name, () => loadAnnounced(entry)))
      addon().addToWriting(
        this.#writing,
        path,
        header,
        loaded.map(({ handle }) => handle),
      )
    })
  }

  /** Begins to write; resolves once all files are complete and synced. Rejects naming the file. */
  async start(): Promise<void> {
    const cancel = () => addon().cancelWriting(this.#writing) // a process that ends would wait for the thread
    process.once('exit', cancel)
    try {
      await addon().startWriting(this.#writing)
    } finally {
      process.off('exit', cancel)
    }
  }

  /**
   * After it the tensors may be changed. What is not written yet is copied, where that takes at most half of the memory that is available;
   * else it is waited for.
   */
  detach(available: () => number = availableMemory): void {
    const left = addon().writingLeft(this.#writing)
    if (left > 0) addon().detachWriting(this.#writing, left <= available() / 2)
  }
}
