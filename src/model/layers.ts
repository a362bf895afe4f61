import { op } from '../tensor/operators.ts'
import type { Dtype, Tensor } from '../tensor/tensor.ts'
import type { Activation, NormConfig } from './config.ts'

/** Weights by their Hugging Face names. */
export type Parameters = Map<string, Tensor>

export function weight(weights: Parameters, name: string): Tensor {
  const found = weights.get(name)
  if (!found) throw new Error(`the model has no weight ${name}`)
  return found
}

/** x W^T + b with `name`.weight and, where there is one, `name`.bias; x [tokens, in], cast to the weight's type -> [tokens, out]. */
export function linear(weights: Parameters, name: string, x: Tensor): Tensor {
  const matrix = weight(weights, `${name}.weight`)
  return op.linear(x.to(matrix.dtype), matrix, weights.get(`${name}.bias`) ?? null)
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

/** activation(gate) up (Shazeer, arXiv 2002.05202), element by element. */
export function gated(gate: Tensor, up: Tensor, activation: Activation): Tensor {
  return op.gatedActivation(gate, up, activation)
}
