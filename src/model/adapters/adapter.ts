import { op } from '../../tensor/operators.ts'
import { Generator } from '../../tensor/random.ts'
import { noGrad, outsideScopes, scope } from '../../tensor/scope.ts'
import type { Device, Tensor } from '../../tensor/tensor.ts'
import type { Parameters } from '../layers.ts'
import type { AdapterConfig } from './config.ts'
import { type AdaptedModule, adapterTargets, type ModelShapes, moduleOf, namedTargets } from './targets.ts'

/** A low-rank adapter of one model: what is trained in place of the model's own weights, which stay as they are. */
export interface Adapter {
  config: AdapterConfig
  modules: ReadonlyMap<string, AdaptedModule>
  /**
   * Float32, by the name of the module and PEFT's name of the part: `<module>.lora_A.weight` [rank, inputs], `.lora_B.weight`
   * [outputs, rank], `.lora_magnitude_vector` [outputs] (DoRA), `.lora_embedding_A` [rank, tokens], `.lora_embedding_B` [width, rank]; and
   * `<module>.weight` and `.bias` of what is trained in full.
   */
  parameters: Parameters
}

/** The parts of an adapted module and their shapes, in the order they are stored. */
export function partsOf({ name, kind, shape, rank }: AdaptedModule, { type }: AdapterConfig): Map<string, number[]> {
  const [outputs, inputs] = shape
  if (kind === 'embedding') {
    return new Map([
      [`${name}.lora_embedding_A`, [rank, outputs]],
      [`${name}.lora_embedding_B`, [inputs, rank]],
    ])
  }
  const parts = new Map([
    [`${name}.lora_A.weight`, [rank, inputs]],
    [`${name}.lora_B.weight`, [outputs, rank]],
  ])
  return type === 'dora' ? parts.set(`${name}.lora_magnitude_vector`, [outputs]) : parts
}

/** Names and shapes of all parameters of an adapter of a model. Throws where the configuration does not fit the model. */
export function adapterShapes(config: AdapterConfig, model: ModelShapes) {
  const { modules, full } = adapterTargets(config, model)
  const special = modules.find(({ kind }) => kind !== 'linear')
  if (config.type === 'dora' && special) {
    throw new Error(`DoRA on ${special.name} is not supported: leave it out of the target modules, or use LoRA`)
  }
  const shapes = new Map(modules.flatMap((module) => [...partsOf(module, config)]))
  for (const name of full) shapes.set(name, [...(model.shapes.get(name) ?? model.shapes.get(model.embedding)!)])
  return { modules: new Map(modules.map((module) => [module.name, module])), shapes, full }
}

/**
 * A fresh adapter, as PEFT starts one: A uniform in +-1 / sqrt(inputs), B zero, so that the model computes what it did (for an embedding A
 * is zero and B normal); lengths and fully trained weights are the model's own. `weightOf` gives these in float32, on `device`. Random numbers are drawn
 * on the processor: the same on all devices.
 */
export function createAdapter(
  config: AdapterConfig,
  model: ModelShapes,
  seed: number,
  weightOf: (name: string) => Tensor,
  device: Device = 'cpu',
): Adapter {
  const { modules, shapes, full } = adapterShapes(config, model)
  const generator = new Generator(seed)
  const own = new Set(full)
  const parameters: Parameters = new Map()
  outsideScopes(() => {
    for (const [name, shape] of shapes) {
      const made = () => (own.has(name) ? op.clone(weightOf(name)) : initialPart(name, shape, generator, weightOf))
      parameters.set(
        name,
        noGrad(() => scope(() => made().on(device))),
      )
    }
  })
  return { config: namedTargets(config, model), modules, parameters }
}

function initialPart(name: string, shape: number[], generator: Generator, weightOf: (name: string) => Tensor): Tensor {
  if (name.endsWith('.lora_magnitude_vector')) return rowLengths(weightOf(`${moduleOf(name)}.weight`))
  if (name.endsWith('.lora_B.weight') || name.endsWith('.lora_embedding_A')) return op.zeros(shape, 'float32')
  const empty = op.empty(shape, 'float32')
  if (name.endsWith('.lora_embedding_B')) return op.normal(empty, 0, 1, generator.index)
  const bound = 1 / Math.sqrt(shape[1]!) // kaiming_uniform_(a = sqrt(5))
  return op.uniform(empty, -bound, bound, generator.index)
}

/** Euclidean length of each row, [rows]. */
export function rowLengths(weight: Tensor): Tensor {
  return op.sqrt(op.square(weight).sum([1]))
}

/** The same adapter with parameters of its own, without gradients. */
export function copyAdapter({ parameters, ...adapter }: Adapter): Adapter {
  const copy = (tensor: Tensor) => outsideScopes(() => noGrad(() => scope(() => op.clone(tensor))))
  return { ...adapter, parameters: new Map([...parameters].map(([name, tensor]) => [name, copy(tensor)])) }
}

export function disposeAdapter({ parameters }: Adapter): void {
  for (const parameter of parameters.values()) parameter.dispose()
}
