import type { Device, Dtype } from '../tensor/tensor.ts'
import type { Progress } from '../train/run.ts'
import { loadAdapter } from './adapters/folder.ts'
import { adapterTargets } from './adapters/targets.ts'
import { Decoder, type DecoderOptions } from './decoder.ts'
import { type ModelFolder, openModelFolder } from './folder.ts'
import { loadFrozen, type Quantization } from './frozen.ts'
import { type ModelSource, modelShapes } from './open.ts'
import { loadParameters } from './parameters.ts'
import { showingBytes } from './progress.ts'

/** Where it is shown how much of the weights has been read. */
export type LoadProgress = Pick<Progress, 'start'>

export interface LoadOptions extends DecoderOptions {
  /** The processor where it is left out. */
  device?: Device | undefined
  progress?: LoadProgress | undefined
}

/**
 * A model with its weights in memory of its own, in the given type; reading takes little more memory than that. Dispose of it when done.
 */
export function loadDecoder(
  model: string | ModelFolder,
  dtype: Dtype,
  { device, progress, ...options }: LoadOptions = {},
): Decoder {
  const { config, tensors, path } = typeof model === 'string' ? openModelFolder(model) : model
  const parameters = showingBytes(progress, 'weights (MB)', (onBytes) =>
    loadParameters(config, tensors, dtype, path, onBytes, device),
  )
  return new Decoder(config, parameters, options)
}

export interface SourceOptions {
  /** The processor where it is left out. */
  device?: Device | undefined
  contextTokens?: number
  quantization?: Quantization | null
  progress?: LoadProgress | undefined
}

/** A model, with its adapter where it has one, for use without training. Dispose of it when done. */
export function loadSource({ folder, adapter }: ModelSource, dtype: Dtype, options: SourceOptions = {}): Decoder {
  const shapes = modelShapes(folder.config)
  const { parameters, quantized } = loadWeights({ folder, adapter }, dtype, options)
  const loaded = adapter && loadAdapter(adapter, shapes, options.device)
  return new Decoder(folder.config, parameters, { contextTokens: options.contextTokens, quantized, adapter: loaded })
}

/** The same without the adapter, which may be put on it. */
export function loadBase(source: ModelSource, dtype: Dtype, options: SourceOptions = {}): Decoder {
  const { parameters, quantized } = loadWeights(source, dtype, options)
  return new Decoder(source.folder.config, parameters, { contextTokens: options.contextTokens, quantized })
}

/** Names of the weights that an adapter trains in full: they are not quantised below it. */
export function trainedInFull({ folder, adapter }: ModelSource): readonly string[] {
  return adapter ? adapterTargets(adapter.config, modelShapes(folder.config)).full : []
}

function loadWeights(source: ModelSource, dtype: Dtype, { device, quantization, progress }: SourceOptions) {
  const keep = new Set(trainedInFull(source))
  return showingBytes(progress, 'weights (MB)', (onBytes) =>
    loadFrozen(source.folder, dtype, quantization, keep, onBytes, device),
  )
}
