import { op } from '../tensor/operators.ts'
import { Generator } from '../tensor/random.ts'
import type { StoredTensor } from '../tensor/safetensors.ts'
import { noGrad, outsideScopes, scope } from '../tensor/scope.ts'
import type { Device, Dtype, Tensor } from '../tensor/tensor.ts'
import { moduleName } from './block.ts'
import type { ModelConfig } from './config.ts'
import type { Parameters } from './layers.ts'

/** A module of the model, by its Hugging Face name, with what it holds. */
export type Module =
  | { kind: 'embedding'; name: string; rows: number; width: number }
  | { kind: 'norm'; name: string; width: number }
  | LinearModule

/** y = x W^T + b; weight [outputs, inputs], bias [outputs]. */
export interface LinearModule {
  kind: 'linear'
  name: string
  inputs: number
  outputs: number
  bias: boolean
}

/** All modules of a model in the order they are saved. A tied head is not among them. */
export function modules(config: ModelConfig): Module[] {
  const { names, hiddenSize: width, vocabularySize } = config
  const blocks = Array.from({ length: config.layers }, (_, layer) =>
    blockModules(config).map((module) => ({ ...module, name: moduleName(config, layer, module.name) })),
  )
  const head: Module = { kind: 'linear', name: names.head, inputs: width, outputs: vocabularySize, bias: false }
  return [
    { kind: 'embedding', name: names.embedding, rows: vocabularySize, width },
    ...blocks.flat(),
    { kind: 'norm', name: names.finalNorm, width },
    ...(config.tiedHead ? [] : [head]),
  ]
}

/** All linear modules, the head among them where it is not tied: what adapters can act on. */
export function linearModules(config: ModelConfig): LinearModule[] {
  const all = modules(config).filter((module) => module.kind === 'linear')
  if (!config.tiedHead) return all
  const { names, hiddenSize, vocabularySize } = config
  return [...all, { kind: 'linear', name: names.head, inputs: hiddenSize, outputs: vocabularySize, bias: false }]
}

function blockModules(config: ModelConfig): Module[] {
  const { heads, keyValueHeads, headSize, hiddenSize: width, biases } = config
  const { attentionNorm, attentionOutputNorm, feedForwardNorm, feedForwardOutputNorm, ...names } = config.names.block
  const norms = (width: number, ...names: (string | null)[]) =>
    names.filter((name) => name !== null).map((name): Module => ({ kind: 'norm', name, width }))
  const linear = (name: string, inputs: number, outputs: number, bias: boolean): Module => ({
    kind: 'linear',
    name,
    inputs,
    outputs,
    bias,
  })
  return [
    ...norms(width, attentionNorm),
    ...queryKeyValueModules(),
    ...norms(headSize * (config.queryKeyNorm === 'whole' ? heads : 1), names.queryNorm),
    ...norms(headSize * (config.queryKeyNorm === 'whole' ? keyValueHeads : 1), names.keyNorm),
    linear(names.attentionOutput, heads * headSize, width, biases.attentionOutput),
    ...norms(width, attentionOutputNorm, feedForwardNorm),
    ...feedForwardModules(),
    ...norms(width, feedForwardOutputNorm),
  ]

  function queryKeyValueModules(): Module[] {
    const modules = names.queryKeyValue
    const [queries, keys] = [heads * headSize, keyValueHeads * headSize]
    const from = (name: string, outputs: number) => linear(name, width, outputs, biases.queryKeyValue)
    if (modules.layout !== 'separate') return [from(modules.fused, queries + 2 * keys)]
    return [from(modules.query, queries), from(modules.key, keys), from(modules.value, keys)]
  }

  function feedForwardModules(): Module[] {
    const modules = names.feedForward
    const inner = config.intermediateSize
    const into = (name: string, outputs: number) => linear(name, width, outputs, biases.feedForward)
    const down = linear(modules.down, inner, width, biases.feedForward)
    switch (modules.layout) {
      case 'gated':
        return [into(modules.gate, inner), into(modules.up, inner), down]
      case 'gated-fused':
        return [into(modules.gateUp, 2 * inner), down]
      case 'plain':
        return [into(modules.up, inner), down]
    }
  }
}

/** Name and shape of every weight of a model, in the order they are saved. A tied head is not among them. */
export function parameterShapes(config: ModelConfig): Map<string, number[]> {
  return new Map(
    modules(config).flatMap((module): [string, number[]][] => {
      const weight = `${module.name}.weight`
      if (module.kind === 'embedding') return [[weight, [module.rows, module.width]]]
      if (module.kind === 'norm') {
        const width = [module.width]
        return config.norm.kind === 'layer'
          ? [
              [weight, width],
              [`${module.name}.bias`, width],
            ]
          : [[weight, width]]
      }
      const matrix: [string, number[]] = [weight, [module.outputs, module.inputs]]
      return module.bias ? [matrix, [`${module.name}.bias`, [module.outputs]]] : [matrix]
    }),
  )
}

/**
 * Fresh float32 weights as transformers makes them: normal with the configured deviation, norms' scales 1, biases 0, and 0 for the embedding
 * of the padding token.
 */
export function initialParameters(config: ModelConfig, seed: number): Parameters {
  const generator = new Generator(seed)
  const kinds = new Map(modules(config).map(({ name, kind }) => [name, kind]))
  const parameters: Parameters = new Map()
  outsideScopes(() => {
    for (const [name, shape] of parameterShapes(config)) {
      const kind = kinds.get(name.slice(0, name.lastIndexOf('.')))!
      parameters.set(
        name,
        scope(() => initialValues(config, kind, name, shape, generator)),
      )
    }
  })
  return parameters
}

function initialValues(
  config: ModelConfig,
  kind: Module['kind'],
  name: string,
  shape: number[],
  generator: Generator,
): Tensor {
  if (name.endsWith('.bias')) return op.zeros(shape, 'float32')
  if (kind === 'norm') return op.full(shape, 1 - config.norm.offset, 'float32')
  const values = op.normal(op.empty(shape, 'float32'), 0, config.initializerRange, generator.index)
  if (kind === 'embedding' && config.paddingToken !== null) op.zeroInPlace(values.narrow(0, config.paddingToken, 1))
  return values
}

/** Tables that old checkpoints store, and that the configuration gives: rotary frequencies, causal masks. */
const derivedPattern = /\.(rotary_emb\.inv_freq|attention\.bias|attention\.masked_bias)$/

/**
 * A model's weights out of a folder's tensors, each in memory of its own on the device. They are read a piece at a time, so that little more than the model
 * itself is in memory. Throws naming every tensor that is missing, misshapen or left over (rotary tables and masks, which old checkpoints
 * store, and the copy of a tied head are passed over). `onProgress` hears how many bytes of the model have been read, of how many.
 */
export function loadParameters(
  config: ModelConfig,
  stored: ReadonlyMap<string, StoredTensor>,
  dtype: Dtype,
  folder: string,
  onProgress: (bytes: number, total: number) => void = () => {},
  device: Device = 'cpu',
): Parameters {
  const wanted = checkStored(config, stored, folder)
  const entries = Array.from(wanted.keys(), (name) => [name, stored.get(name)!] as const)
  const total = entries.reduce((sum, [, { bytes }]) => sum + bytes, 0)
  const parameters: Parameters = new Map()
  let done = 0
  try {
    for (const [name, entry] of entries) {
      parameters.set(
        name,
        outsideScopes(() => noGrad(() => entry.read(dtype, device))),
      )
      done += entry.bytes
      onProgress(done, total)
    }
  } catch (error) {
    for (const parameter of parameters.values()) parameter.dispose()
    throw error
  }
  return parameters
}

/** The shapes of a model's weights. Throws naming every tensor of a folder that is missing, misshapen or left over. */
export function checkStored(
  config: ModelConfig,
  stored: ReadonlyMap<string, StoredTensor>,
  folder: string,
): Map<string, number[]> {
  const wanted = parameterShapes(config)
  const problems = misfits(config, wanted, stored)
  if (problems.length === 0) return wanted
  const shown = problems.slice(0, 8)
  const more = problems.length > shown.length ? `; and ${problems.length - shown.length} more` : ''
  throw new Error(`${folder}: the weights do not fit config.json: ${shown.join('; ')}${more}`)
}

function misfits(
  config: ModelConfig,
  wanted: ReadonlyMap<string, number[]>,
  stored: ReadonlyMap<string, StoredTensor>,
): string[] {
  const problems: string[] = []
  for (const [name, shape] of wanted) {
    const found = stored.get(name)
    if (!found) problems.push(`${name} is missing`)
    else if (found.shape.join() !== shape.join())
      problems.push(`${name} is [${found.shape.join(', ')}], expected [${shape.join(', ')}]`)
    else if (!found.dtype.includes('float')) problems.push(`${name} is stored as ${found.dtype}, expected a float type`)
  }
  for (const name of stored.keys()) {
    const copyOfTiedHead = config.tiedHead && name === `${config.names.head}.weight`
    if (!wanted.has(name) && !derivedPattern.test(name) && !copyOfTiedHead) problems.push(`${name} is not known`)
  }
  return problems
}
