import { op } from '../tensor/operators.ts'
import { noGrad, outsideScopes, scope } from '../tensor/scope.ts'
import type { Dtype } from '../tensor/tensor.ts'
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
 * that type, so that they take no memory of their own and processes share them; else converted, or quantised, one at a time. `keep`: weights
 * that are not quantised.
 */
export function loadFrozen(
  { config, tensors, path }: Pick<ModelFolder, 'config' | 'tensors' | 'path'>,
  dtype: Dtype,
  quantization: Quantization | null = null,
  keep: ReadonlySet<string> = new Set(),
  onProgress: OnBytes = () => {},
): { parameters: Parameters; quantized: Map<string, QuantizedWeight> } {
  const wanted = checkStored(config, tensors, path)
  const parameters: Parameters = new Map()
  const quantized = new Map<string, QuantizedWeight>()
  outsideScopes(() =>
    noGrad(() => {
      const total = Array.from(wanted.keys()).reduce((sum, name) => sum + tensors.get(name)!.bytes, 0)
      let done = 0
      for (const [name, shape] of wanted) {
        const entry = tensors.get(name)!
        if (quantization && isQuantizable(config, name, shape) && !keep.has(name)) {
          const { bits, doubleQuantization } = quantization
          const [data, absmax, nested] = scope(() => op.quantize(entry.read(entry.dtype), bits, doubleQuantization))
          parameters.set(name, data).set(`${name}.absmax`, absmax).set(`${name}.nested_absmax`, nested)
          quantized.set(name, { bits, shape: shape as [number, number] })
        } else {
          const own = shape.length < 2 && entry.dtype !== 'float16' ? entry.dtype : dtype
          parameters.set(name, entry.dtype === own ? entry.load() : entry.read(own))
        }
        done += entry.bytes
        onProgress(done, total)
      }
    }),
  )
  return { parameters, quantized }
}

/** Embedding and head stay as they are, as in the paper: what is read by row, and what the log-probabilities hang on. */
function isQuantizable(config: ModelConfig, name: string, shape: readonly number[]): boolean {
  return shape.length === 2 && name !== embeddingName(config) && name !== headName(config)
}
