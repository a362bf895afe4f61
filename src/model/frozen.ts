import { op } from '../tensor/operators.ts'
import type { StoredTensor } from '../tensor/safetensors.ts'
import { noGrad, outsideScopes, scope } from '../tensor/scope.ts'
import type { Device, Dtype, Tensor } from '../tensor/tensor.ts'
import type { ModelConfig } from './config.ts'
import { embeddingName, headName } from './decoder.ts'
import type { ModelFolder } from './folder.ts'
import type { Parameters, QuantizedWeight } from './layers.ts'
import { checkStored } from './parameters.ts'
import type { OnBytes } from './progress.ts'

/** How a frozen weight is stored in memory. */
export interface Quantization {
  bits: 4 | 8
  /** The scales are stored in 8 bits too. */
  doubleQuantization: boolean
}

/**
 * A model's weights for use without training them. Matrices and embeddings are in `dtype`: straight from the file's own pages where it has
 * that type and the device is the processor, so that they take no memory of their own and processes share them; else read, converted or
 * quantised one at a time. `keep`: weights that are not quantised.
 */
export function loadFrozen(
  { config, tensors, path }: Pick<ModelFolder, 'config' | 'tensors' | 'path'>,
  dtype: Dtype,
  quantization: Quantization | null = null,
  keep: ReadonlySet<string> = new Set(),
  onProgress: OnBytes = () => {},
  device: Device = 'cpu',
): { parameters: Parameters; quantized: Map<string, QuantizedWeight> } {
  const wanted = checkStored(config, tensors, path)
  const parameters: Parameters = new Map()
  const stored = new Map<string, QuantizedWeight>()
  const load = () =>
    noGrad(() => {
      const total = Array.from(wanted.keys()).reduce((sum, name) => sum + tensors.get(name)!.bytes, 0)
      let done = 0
      for (const [name, shape] of wanted) {
        const entry = tensors.get(name)!
        if (quantization && isQuantizable(config, name, shape) && !keep.has(name)) {
          const { bits, doubleQuantization } = quantization
          const [data, absmax, nested] = scope(() => quantized(entry, { bits, doubleQuantization }, device))
          parameters.set(name, data).set(`${name}.absmax`, absmax).set(`${name}.nested_absmax`, nested)
          stored.set(name, { bits, shape: shape as [number, number] })
        } else {
          const own = shape.length < 2 && entry.dtype !== 'float16' ? entry.dtype : dtype
          const mapped = entry.dtype === own && device === 'cpu'
          parameters.set(name, mapped ? entry.load() : entry.read(own, device))
        }
        done += entry.bytes
        onProgress(done, total)
      }
    })
  try {
    outsideScopes(load)
  } catch (error) {
    for (const parameter of parameters.values()) parameter.dispose()
    throw error
  }
  return { parameters, quantized: stored }
}

/** Embedding and head stay as they are, as in the paper: what is read by row, and what the log-probabilities hang on. */
function isQuantizable(config: ModelConfig, name: string, shape: readonly number[]): boolean {
  return shape.length === 2 && name !== embeddingName(config) && name !== headName(config)
}

/** Data, scales and their own scales. Quantised on the processor: the same bits on all devices. */
function quantized(
  entry: StoredTensor,
  { bits, doubleQuantization }: Quantization,
  device: Device,
): [data: Tensor, absmax: Tensor, nested: Tensor] {
  const [data, absmax, nested] = op.quantize(entry.read(entry.dtype), bits, doubleQuantization)
  return [data.on(device), absmax.on(device), nested.on(device)]
}
