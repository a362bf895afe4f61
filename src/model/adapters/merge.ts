import { op } from '../../tensor/operators.ts'
import type { LazyTensor } from '../../tensor/safetensors.ts'
import { noGrad, scope } from '../../tensor/scope.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import { weight } from '../layers.ts'
import { type Adapter, rowLengths } from './adapter.ts'
import { type AdaptedModule, type ModelShapes, moduleOf } from './targets.ts'

/** A model with an adapter merged in; tensors are made when they are needed, one at a time. */
export interface MergedModel {
  tensors: Map<string, LazyTensor>
  /** The head was the embedding and is no longer: config.json must say tie_word_embeddings false. */
  untied: boolean
}

/**
 * Weights that compute without the adapter what the model computes with it: W + scaling B A, for DoRA with rows of length m. Computed in
 * float32 and stored in each weight's own type, as PEFT's merge does. `stored`: the base model's tensors by the names in `model.shapes`.
 */
export function mergeAdapter(
  stored: ReadonlyMap<string, LazyTensor>,
  adapter: Adapter,
  model: ModelShapes,
): MergedModel {
  const tied = !model.shapes.has(model.head)
  const touches = (name: string) => adapter.modules.has(moduleOf(name)) || adapter.parameters.has(name)
  const untied = tied && (touches(model.embedding) || touches(model.head))
  const names = untied ? [...model.shapes.keys(), model.head] : [...model.shapes.keys()]
  const sourceOf = (name: string) => stored.get(untied && name === model.head ? model.embedding : name)
  const tensors = names.map((name): [string, LazyTensor] => {
    const source = sourceOf(name)
    if (!source) throw new Error(`the base model has no weight ${name}`)
    return [name, touches(name) ? mergedTensor(name, source, adapter) : source]
  })
  return { tensors: new Map(tensors), untied }
}

function mergedTensor(name: string, source: LazyTensor, adapter: Adapter): LazyTensor {
  const { dtype, shape } = source
  const module = name.endsWith('.weight') ? adapter.modules.get(moduleOf(name)) : undefined
  if (!module && !adapter.parameters.has(name)) return source // the bias of an adapted module
  const load = () =>
    noGrad(() =>
      scope(() => {
        const own = adapter.parameters.get(name)?.detach()
        const merged = own ?? mergedWeight(source.load().to('float32'), adapter, module!)
        return op.toDtype(merged, dtype, false, true)
      }),
    )
  return { dtype, shape, load }
}

/** W + scaling B A, and its rows brought to the length m for DoRA; float32. */
function mergedWeight(base: Tensor, { config, parameters }: Adapter, { name, kind, scaling }: AdaptedModule): Tensor {
  const part = (suffix: string) => weight(parameters, `${name}.${suffix}`)
  if (kind === 'embedding') {
    return base.add(part('lora_embedding_B').matmul(part('lora_embedding_A')).transpose(0, 1).mul(scaling))
  }
  const sum = base.add(part('lora_B.weight').matmul(part('lora_A.weight')).mul(scaling))
  if (config.type === 'lora') return sum
  return sum.mul(op.unsqueeze(part('lora_magnitude_vector').div(rowLengths(sum)), 1))
}
