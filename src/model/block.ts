import { op } from '../tensor/operators.ts'
import { scope } from '../tensor/scope.ts'
import type { Dtype, Tensor } from '../tensor/tensor.ts'
import type { Attention } from './attention.ts'
import type { ModelConfig } from './config.ts'
import { activate, addNorm, gatedLinear, linear, norm, type Weights } from './layers.ts'
import { type Rotation, rotate } from './rope.ts'

/** What a block works with besides its input. `rotations`: one for each of `config.ropes`. */
export interface BlockContext {
  config: ModelConfig
  weights: Weights
  rotations: readonly Rotation[]
  attention: Attention
  /** Type of matrix products. */
  compute: Dtype
}

/**
 * One block of the decoder: x [tokens, hiddenSize] float32 -> the same. Each half is a scope of its own: what it makes and no backward pass needs
 * is freed before the other half begins.
 */
export function block(x: Tensor, layer: number, context: BlockContext): Tensor {
  const { config, weights, compute } = context
  const { attentionNorm, attentionOutputNorm, feedForwardNorm, feedForwardOutputNorm } = config.names.block
  const nameOf = (name: string) => moduleName(config, layer, name)
  const normed = (x: Tensor, name: string | null, dtype: Dtype) =>
    name === null ? x : norm(weights, nameOf(name), x, config.norm, dtype)
  const attended = scope(() =>
    normed(attend(normed(x, attentionNorm, compute), layer, context), attentionOutputNorm, 'float32'),
  )
  const [middle, read] =
    config.parallelResidual || feedForwardNorm === null
      ? [x.add(attended), normed(config.parallelResidual ? x : x.add(attended), feedForwardNorm, compute)]
      : addNorm(weights, nameOf(feedForwardNorm), x, attended, config.norm, compute)
  const fed = scope(() => normed(feedForward(read, layer, context), feedForwardOutputNorm, 'float32'))
  return middle.add(fed)
}

/** Full name of a module of a block. */
export function moduleName({ names }: ModelConfig, layer: number, name: string): string {
  return `${names.layers}${layer}.${name}`
}

function attend(x: Tensor, layer: number, context: BlockContext): Tensor {
  const { config, weights, rotations, attention } = context
  const { queryNorm, keyNorm, attentionOutput } = config.names.block
  const { window, rope } = config.attention[layer]!
  const [queries, keys, values] = queriesKeysValues(x, layer, context)
  const normed = (x: Tensor, name: string | null) => {
    if (name === null) return x
    const unit = config.queryKeyNorm === 'whole' ? x.reshape(x.shape[0]!, -1) : x
    return norm(weights, moduleName(config, layer, name), unit, config.norm, x.dtype).view(...x.shape)
  }
  const placed = [normed(queries, queryNorm), normed(keys, keyNorm)] as const
  const turned = rope === null ? placed : rotate(...placed, rotations[rope]!)
  const form = { scale: config.queryScale, softCap: config.attentionSoftCap, window }
  const mixed = attention(layer, ...turned, values, form)
  return linear(weights, moduleName(config, layer, attentionOutput), mixed)
}

/** Queries [tokens, heads, headSize], keys and values [tokens, keyValueHeads, headSize]. */
function queriesKeysValues(
  x: Tensor,
  layer: number,
  { config, weights }: BlockContext,
): readonly [Tensor, Tensor, Tensor] {
  const { heads, keyValueHeads, headSize } = config
  const modules = config.names.block.queryKeyValue
  const project = (name: string) => linear(weights, moduleName(config, layer, name), x)
  const asHeads = (x: Tensor, count: number) => x.reshape(-1, count, headSize)
  if (modules.layout === 'separate') {
    const { query, key, value } = modules
    return [
      asHeads(project(query), heads),
      asHeads(project(key), keyValueHeads),
      asHeads(project(value), keyValueHeads),
    ]
  }
  const fused = project(modules.fused)
  if (modules.layout === 'by-head') {
    const [queries, keys, values] = op.splitWithSizes(
      fused.view(-1, heads, 3 * headSize),
      [headSize, headSize, headSize],
      2,
    )
    return [queries!, keys!, values!]
  }
  const keyWidth = keyValueHeads * headSize
  const [queries, keys, values] = op.splitWithSizes(fused, [heads * headSize, keyWidth, keyWidth], 1)
  return [asHeads(queries!, heads), asHeads(keys!, keyValueHeads), asHeads(values!, keyValueHeads)]
}

function feedForward(x: Tensor, layer: number, { config, weights }: BlockContext): Tensor {
  const modules = config.names.block.feedForward
  const project = (module: string) => linear(weights, moduleName(config, layer, module), x)
  const down = moduleName(config, layer, modules.down)
  switch (modules.layout) {
    case 'gated':
      return gatedLinear(weights, down, project(modules.gate), project(modules.up), config.activation)
    case 'gated-fused': {
      const inner = config.intermediateSize
      const [gate, up] = op.splitWithSizes(project(modules.gateUp), [inner, inner], 1)
      return gatedLinear(weights, down, gate!, up!, config.activation)
    }
    case 'plain':
      return linear(weights, down, activate(project(modules.up), config.activation))
  }
}
