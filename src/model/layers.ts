import { op } from '../tensor/operators.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** Weights by their Hugging Face names. */
export type Parameters = Map<string, Tensor>

export function weight(weights: Parameters, name: string): Tensor {
  const found = weights.get(name)
  if (!found) throw new Error(`the model has no weight ${name}`)
  return found
}

/** x W^T + b with `name`.weight and, where there is one, `name`.bias; x [tokens, in] -> [tokens, out]. */
export function linear(weights: Parameters, name: string, x: Tensor): Tensor {
  return op.linear(x, weight(weights, `${name}.weight`), weights.get(`${name}.bias`) ?? null)
}

/** RMSNorm (Zhang & Sennrich, arXiv 1910.07467), in float32; x [tokens, width], scale [width]. */
export function rmsNorm(x: Tensor, scale: Tensor, epsilon: number): Tensor {
  const inverse = op.rsqrt(op.meanDims(op.square(x), [-1], true).add(epsilon))
  return x.mul(inverse).mul(scale)
}

/** silu(gate) up (Shazeer, arXiv 2002.05202), element by element. */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return gate.silu().mul(up)
}
