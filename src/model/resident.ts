import type { Dtype } from '../tensor/tensor.ts'
import { loadAdapter } from './adapters/folder.ts'
import type { Decoder } from './decoder.ts'
import { loadBase, type SourceOptions, trainedInFull } from './load.ts'
import { type ModelSource, modelShapes } from './open.ts'

/**
 * Keeps the weights of the last model in memory, so that the same one with its adapter on, off, or with another is not read again. Use one
 * decoder of it at a time.
 */
export class ResidentModel {
  #base: Decoder | null = null
  #key = ''

  /**
   * The model with its adapter. Its weights are in the type of the first use. Dispose of it when done: that frees the adapter; the model's
   * weights stay until another model is used, or dispose().
   */
  use(source: ModelSource, dtype: Dtype, options: SourceOptions = {}): Decoder {
    const { folder, adapter } = source
    const { quantization = null, contextTokens = null, device = 'cpu' } = options
    const key = JSON.stringify([
      folder.path,
      device,
      contextTokens,
      quantization,
      quantization && trainedInFull(source),
    ])
    if (!this.#base || this.#key !== key) {
      this.dispose()
      this.#base = loadBase(source, dtype, options)
      this.#key = key
    }
    return this.#base.withAdapter(adapter && loadAdapter(adapter, modelShapes(folder.config), device))
  }

  dispose(): void {
    this.#base?.dispose()
    this.#base = null
  }
}
