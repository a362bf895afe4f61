import { resolve } from 'node:path'
import { hubNameOfFolder } from '../hub/names.ts'
import { type Adapter, adapterShapes, createAdapter } from '../model/adapters/adapter.ts'
import { baseWeight } from '../model/adapters/apply.ts'
import { type AdapterConfig, defaultAdapterConfig } from '../model/adapters/config.ts'
import { loadAdapter } from '../model/adapters/folder.ts'
import { adapterTargets } from '../model/adapters/targets.ts'
import { Decoder } from '../model/decoder.ts'
import { loadFrozen, type Quantization } from '../model/frozen.ts'
import { Weights } from '../model/layers.ts'
import { type LoadProgress, loadDecoder, loadSource } from '../model/load.ts'
import { type ModelSource, modelShapes } from '../model/open.ts'
import { showingBytes } from '../model/progress.ts'
import { OptionError } from '../options/validate.ts'
import type { Device, Dtype } from '../tensor/tensor.ts'
import type { ResolvedTrainOptions } from './options.ts'

/** `device`: resolved; the processor where it is left out. */
type AdapterOptions = Pick<
  ResolvedTrainOptions,
  'adapter' | 'loadIn' | 'doubleQuantization' | 'model' | 'seed' | 'maxLength'
> & { device?: Device }

/**
 * The adapter that a run trains, or null where it trains all weights: the one that is continued, or a fresh one by the options. Throws
 * OptionError where the two contradict each other.
 */
export function adapterConfigOf(options: AdapterOptions, { folder, adapter }: ModelSource): AdapterConfig | null {
  const given = Object.entries(options.adapter).filter(([, value]) => value !== undefined)
  if (adapter) {
    if (given.length === 0) return adapter.config
    const names = given.map(([name]) => `adapter.${name}`).join(', ')
    throw new OptionError(
      `${names}: ${adapter.path} is an adapter, which is continued as it is; leave these options out, or name its base model with --model`,
    )
  }
  const { type = given.length > 0 ? 'lora' : 'none', ...rest } = options.adapter
  if (type === 'none') {
    if (given.length > 1) throw new OptionError('adapter.type: none, but other options of an adapter are given')
    if (options.loadIn === undefined) return null
    throw new OptionError(
      `loadIn: only a frozen base model can be stored in ${options.loadIn}: train an adapter (--adapter lora)`,
    )
  }
  const rank = rest.rank ?? defaultAdapterConfig.rank
  const config: AdapterConfig = {
    ...defaultAdapterConfig,
    type,
    rank,
    alpha: rest.alpha ?? 2 * rank,
    rslora: rest.rslora ?? false,
    dropout: rest.dropout ?? 0,
    targetModules: targetsOf(rest.targetModules),
    modulesToSave: rest.modulesToSave ?? [],
    bias: rest.bias ?? 'none',
    base: hubNameOfFolder(folder.path)?.repository ?? resolve(folder.path),
  }
  adapterShapes(config, modelShapes(folder.config)) // throws where it does not fit the model
  return config
}

/** One name with characters that no module's name has is a regular expression. */
function targetsOf(names: readonly string[] | undefined): AdapterConfig['targetModules'] {
  if (names === undefined) return defaultAdapterConfig.targetModules
  const [only] = names
  return names.length === 1 && (only!.toLowerCase() === 'all-linear' || /[^\w.]/.test(only!)) ? only! : names
}

/** The model that is trained, its trainable parameters ready for gradients. Dispose of it when done. */
export function loadPolicy(
  options: AdapterOptions,
  source: ModelSource,
  compute: Dtype,
  progress?: LoadProgress,
): Decoder {
  const config = adapterConfigOf(options, source)
  const decoder = config
    ? adaptedDecoder(options, source, config, compute, progress)
    : loadFull(options, source, progress)
  for (const parameter of decoder.trainable.values()) parameter.withGrad()
  return decoder
}

function adaptedDecoder(
  options: AdapterOptions,
  { folder, adapter }: ModelSource,
  config: AdapterConfig,
  compute: Dtype,
  progress?: LoadProgress,
): Decoder {
  const shapes = modelShapes(folder.config)
  const keep = new Set(adapterTargets(config, shapes).full)
  const { parameters, quantized } = showingBytes(progress, 'weights (MB)', (onBytes) =>
    loadFrozen(folder, compute, quantizationOf(options), keep, onBytes, options.device),
  )
  const made = startingAdapter({ folder, adapter }, options.device) ?? fresh()
  return new Decoder(folder.config, parameters, { contextTokens: options.maxLength, quantized, adapter: made })

  function fresh(): Adapter {
    const weights = new Weights(compute, parameters)
    weights.quantized = quantized
    const tied = weights.get(shapes.head) === undefined
    if (tied) weights.set(shapes.head, parameters.get(shapes.embedding)!)
    return createAdapter(config, shapes, options.seed, (name) => baseWeight(weights, name), options.device)
  }
}

function loadFull(
  { maxLength: contextTokens, device }: AdapterOptions,
  { folder }: ModelSource,
  progress?: LoadProgress,
): Decoder {
  return loadDecoder(folder, 'float32', { contextTokens, device, progress })
}

function quantizationOf({ loadIn, doubleQuantization }: AdapterOptions): Quantization | null {
  return loadIn === undefined ? null : { bits: loadIn === '4bit' ? 4 : 8, doubleQuantization }
}

/** The adapter that a run starts from, as it is in its folder; null where a run starts from a model. */
export function startingAdapter({ folder, adapter }: ModelSource, device?: Device): Adapter | null {
  return adapter && loadAdapter(adapter, modelShapes(folder.config), device)
}

/** Another model or adapter, to compare with. */
export function loadReference(
  options: AdapterOptions,
  source: ModelSource,
  compute: Dtype,
  progress?: LoadProgress,
): Decoder {
  const { maxLength: contextTokens, device } = options
  return source.adapter
    ? loadSource(source, compute, { contextTokens, device, progress })
    : loadFull(options, source, progress)
}
