import type { Dtype } from '../tensor/tensor.ts'
import type { Progress } from '../train/run.ts'
import { loadAdapter } from './adapters/folder.ts'
import { adapterTargets } from './adapters/targets.ts'
import { Decoder, type DecoderOptions } from './decoder.ts'
import { type ModelFolder, openModelFolder } from './folder.ts'
import { loadFrozen, type Quantization } from './frozen.ts'
import { type ModelSource, modelShapes } from './open.ts'
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

/** A model, with its adapter where it has one, for use without training. Dispose of it when done. */
export function loadSource(
  { folder, adapter }: ModelSource,
  dtype: Dtype,
  { contextTokens, quantization }: { contextTokens?: number; quantization?: Quantization | null } = {},
): Decoder {
  const shapes = modelShapes(folder.config)
  const keep = new Set(adapter ? adapterTargets(adapter.config, shapes).full : [])
  const { parameters, quantized } = loadFrozen(folder, dtype, quantization, keep)
  const loaded = adapter && loadAdapter(adapter, shapes)
  return new Decoder(folder.config, parameters, { contextTokens, quantized, adapter: loaded })
}
