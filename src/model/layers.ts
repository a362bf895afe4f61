import { op } from '../tensor/operators.ts'
import type { Dtype, Tensor } from '../tensor/tensor.ts'
import type { Activation, NormConfig } from './config.ts'

/** Weights by their Hugging Face names. */
export type Parameters = Map<string, Tensor>

/** A weight that is stored in 4 or 8 bits, beside its scales: `<weight>.absmax` and `<weight>.nested_absmax`. */
export interface QuantizedWeight {
  bits: 4 | 8
  /** [outputs, inputs] */
  shape: readonly [number, number]
}

/** What a pass computes with: tensors by name, and what makes a module more than a product with its weight. */
export class Weights extends Map<string, Tensor> {
  /** Type of matrix products. */
  readonly compute: Dtype
  /** By the weight's name. */
  quantized: ReadonlyMap<string, QuantizedWeight> = new Map()
  adapter: Adaptation | null = null
  /** Float32 leaves that get the gradients of matrices, by name, where those are copies of them in the compute type. */
  masters: Map<string, Tensor> = new Map()

  constructor(compute: Dtype, tensors: Iterable<readonly [string, Tensor]> = []) {
    super(tensors)
    this.compute = compute
  }
}

/** How an adapter changes modules; `base` is what the module itself gives. */
export interface Adaptation {
  linear(weights: Weights, name: string, x: Tensor, base: Tensor): Tensor
  embedding(weights: Weights, name: string, tokens: Tensor, base: Tensor): Tensor
  /** Inputs of the output head and its weight, such that their product is the adapted one; `positions`: which tokens they are of. */
  head(
    weights: Weights,
    name: string,
    states: Tensor,
    head: Tensor,
    positions: Tensor | null,
  ): { states: Tensor; head: Tensor }
}

export function weight(weights: Parameters, name: string): Tensor {
  const found = weights.get(name)
  if (!found) throw new Error(`the model has no weight ${name}`)
  return found
}

/**
 * x W^T + b with `name`.weight and, where there is one, `name`.bias, as its adapter changes it;
 * x [tokens, in], cast to the type of products -> [tokens, out].
 */
export function linear(weights: Weights, name: string, input: Tensor): Tensor {
  const x = input.to(weights.compute)
  const base = product(weights, name, x, weights.get(`${name}.bias`) ?? null)
  return weights.adapter ? weights.adapter.linear(weights, name, x, base) : base
}

/** x W^T + b with the module's own weight, which may be quantised. */
export function product(weights: Weights, name: string, x: Tensor, bias: Tensor | null): Tensor {
  const stored = weights.quantized.get(`${name}.weight`)
  if (!stored) {
    const master = weights.masters.get(`${name}.weight`) ?? null
    return op.linear(x, weight(weights, `${name}.weight`), bias, master)
  }
  const [data, absmax, nested] = quantizedParts(weights, `${name}.weight`)
  const result = op.quantizedLinear(x, data, absmax, nested, stored.shape[0], stored.bits)
  return bias ? result.add(bias) : result
}

/** Data, scales and the scales' own scales of a quantised weight. */
export function quantizedParts(weights: Parameters, name: string): [data: Tensor, absmax: Tensor, nested: Tensor] {
  return [weight(weights, name), weight(weights, `${name}.absmax`), weight(weights, `${name}.nested_absmax`)]
}

/** Rows of `name`.weight by token, as its adapter changes them: [tokens, width]. */
export function embedding(weights: Weights, name: string, tokens: Tensor): Tensor {
  const base = op.tokenEmbedding(weight(weights, `${name}.weight`), tokens)
  return weights.adapter ? weights.adapter.embedding(weights, name, tokens, base) : base
}

/** The norm called `name`, over the last dimension of x, computed in float32 and given as `dtype`. */
export function norm(weights: Parameters, name: string, x: Tensor, config: NormConfig, dtype: Dtype): Tensor {
  const scale = weight(weights, `${name}.weight`)
  if (config.kind === 'layer') return layerNorm(x, scale, weight(weights, `${name}.bias`), config.epsilon).to(dtype)
  return op.rmsNorm(x, scale.to('float32'), config.epsilon, config.offset, dtype)
}

/** x + change, and the norm called `name` of that sum. */
export function addNorm(
  weights: Parameters,
  name: string,
  x: Tensor,
  change: Tensor,
  config: NormConfig,
  dtype: Dtype,
): [total: Tensor, normed: Tensor] {
  if (config.kind === 'rms') {
    const scale = weight(weights, `${name}.weight`).to('float32')
    return op.addRmsNorm(x, change, scale, config.epsilon, config.offset, dtype)
  }
  const total = x.add(change)
  return [total, norm(weights, name, total, config, dtype)]
}

/** LayerNorm (Ba et al., arXiv 1607.06450), in float32; x [..., width], scale and bias [width]. */
export function layerNorm(x: Tensor, scale: Tensor, bias: Tensor, epsilon: number): Tensor {
  return op.layerNorm(x.to('float32'), scale.shape, scale.to('float32'), bias.to('float32'), epsilon)
}

/** c tanh(x / c): what Gemma 2 keeps scores and logits within. */
export function softCap(x: Tensor, cap: number | null): Tensor {
  return cap === null ? x : op.tanh(x.div(cap)).mul(cap)
}

export function activate(x: Tensor, activation: Activation): Tensor {
  switch (activation) {
    case 'silu':
      return x.silu()
    case 'gelu':
      return op.gelu(x, 'none')
    case 'gelu_tanh':
      return op.gelu(x, 'tanh')
    case 'relu':
      return op.clampMin(x, 0)
  }
}

/** activation(gate) up (Shazeer, arXiv 2002.05202), element by element, through the linear module `name`. */
export function gatedLinear(weights: Weights, name: string, gate: Tensor, up: Tensor, activation: Activation): Tensor {
  const matrix = `${name}.weight`
  if (weights.adapter || weights.quantized.has(matrix) || weights.has(`${name}.bias`))
    return linear(weights, name, op.gatedActivation(gate, up, activation))
  return op.gatedLinear(gate, up, activation, weight(weights, matrix), weights.masters.get(matrix) ?? null)
}
