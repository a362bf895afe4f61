import type { Dtype } from '../tensor/tensor.ts'
import { Decoder, type DecoderOptions } from './decoder.ts'
import { type ModelFolder, openModelFolder } from './folder.ts'
import { loadParameters } from './parameters.ts'

/** A model with its weights in memory of its own, in the given type. Dispose of it when done. */
export function loadDecoder(model: string | ModelFolder, dtype: Dtype, options: DecoderOptions = {}): Decoder {
  const folder = typeof model === 'string' ? openModelFolder(model) : model
  return new Decoder(folder.config, loadParameters(folder.config, folder.tensors, dtype, folder.path), options)
}
