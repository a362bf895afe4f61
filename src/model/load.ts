import type { Dtype } from '../tensor/tensor.ts'
import type { Progress } from '../train/run.ts'
import { Decoder, type DecoderOptions } from './decoder.ts'
import { type ModelFolder, openModelFolder } from './folder.ts'
import { loadParameters } from './parameters.ts'

export interface LoadOptions extends DecoderOptions {
  progress?: Pick<Progress, 'start'>
}

/**
 * A model with its weights in memory of its own, in the given type; reading takes little more memory than that. Dispose of it when done.
 */
export function loadDecoder(
  model: string | ModelFolder,
  dtype: Dtype,
  { progress, ...options }: LoadOptions = {},
): Decoder {
  const { config, tensors, path } = typeof model === 'string' ? openModelFolder(model) : model
  let piece: ReturnType<Progress['start']> | undefined
  try {
    const parameters = loadParameters(config, tensors, dtype, path, (bytes, total) => {
      piece ??= progress?.start(megabytes(total), 'weights (MB)')
      piece?.update(megabytes(bytes))
    })
    return new Decoder(config, parameters, options)
  } finally {
    piece?.stop()
  }
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6)
}
