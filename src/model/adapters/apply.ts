import { op } from '../../tensor/operators.ts'
import { noGrad, scope } from '../../tensor/scope.ts'
import type { Dtype, Tensor } from '../../tensor/tensor.ts'
import { type Adaptation, type Parameters, product, quantizedParts, Weights, weight } from '../layers.ts'
import { type Adapter, rowLengths } from './adapter.ts'
import type { DropoutKeys } from './dropout.ts'
import type { AdaptedModule } from './targets.ts'

/** Adds an adapter's parts to the weights of a pass, in the type of its products. The base weights must be there already. */
export function applyAdapter(weights: Weights, adapter: Adapter, compute: Dtype): void {
  for (const module of adapter.modules.values()) {
    const { name, kind, scaling } = module
    const part = (suffix: string) => weight(adapter.parameters, `${name}.${suffix}`)
    if (kind === 'embedding') {
      weights.set(`${name}.lora_embedding_A`, part('lora_embedding_A').transpose(0, 1))
      weights.set(`${name}.lora_embedding_B`, part('lora_embedding_B').mul(scaling))
      continue
    }
    weights.set(`${name}.lora_A.weight`, part('lora_A.weight').to(compute))
    weights.set(`${name}.lora_B.weight`, part('lora_B.weight').mul(scaling).to(compute))
    if (adapter.config.type === 'dora') {
      // Divided where they are used: a quotient's node would be gone after the backward pass of a step's first micro-batch.
      weights.set(`${name}.dora_magnitude`, part('lora_magnitude_vector'))
      weights.set(`${name}.dora_lengths`, adaptedLengths(weights, adapter.parameters, module))
    }
  }
  weights.adapter = new LowRank(adapter.config.dropout)
}

/** |W + scaling B A| of each row, without gradient (Section 4.3 of the DoRA paper), [outputs]. */
function adaptedLengths(weights: Weights, parameters: Parameters, { name, scaling }: AdaptedModule): Tensor {
  return noGrad(() =>
    scope(() => {
      const a = weight(parameters, `${name}.lora_A.weight`)
      const b = weight(parameters, `${name}.lora_B.weight`)
      return rowLengths(
        b
          .matmul(a)
          .mul(scaling)
          .add(baseWeight(weights, `${name}.weight`)),
      )
    }),
  )
}

/** A base weight in float32, out of its quantised form where it has one. */
export function baseWeight(weights: Weights, name: string): Tensor {
  const stored = weights.quantized.get(name)
  if (!stored) return weight(weights, name).to('float32')
  const [data, absmax, nested] = quantizedParts(weights, name)
  return op.dequantize(data, absmax, nested, stored.shape, stored.bits, 'float32')
}

/** LoRA: W x + scaling B A dropout(x). DoRA scales each output by m / |W + scaling B A| on top. The scaling is in B already. */
class LowRank implements Adaptation {
  readonly #dropout: number
  readonly #keys: DropoutKeys | null

  /** Without `keys` nothing is dropped. */
  constructor(dropout: number, keys: DropoutKeys | null = null) {
    this.#dropout = dropout
    this.#keys = keys
  }

  get drops(): boolean {
    return this.#dropout > 0
  }

  withDropout(keys: DropoutKeys): LowRank {
    return new LowRank(this.#dropout, keys)
  }

  linear(weights: Weights, name: string, x: Tensor, base: Tensor): Tensor {
    const a = weights.get(`${name}.lora_A.weight`)
    if (!a) return base
    const input = this.#drop(name, x)
    const change = op.linear(op.linear(input, a), weight(weights, `${name}.lora_B.weight`))
    const magnitude = weights.get(`${name}.dora_magnitude`)
    if (!magnitude) {
      const result = op.addInPlace(base, change) // no gradient needs either of them: one tensor of this size less
      change.dispose()
      return result
    }
    const factor = magnitude.div(weight(weights, `${name}.dora_lengths`))
    const plain = input === x ? withoutBias(weights, name, base) : product(weights, name, input, null)
    return base.add(plain.mul(factor.sub(1)).add(change.mul(factor)).to(base.dtype)) // PEFT's form: exactly the base's at the start
  }

  embedding(weights: Weights, name: string, tokens: Tensor, base: Tensor): Tensor {
    const a = weights.get(`${name}.lora_embedding_A`)
    if (!a) return base
    return base.add(op.linear(op.embedding(a, tokens), weight(weights, `${name}.lora_embedding_B`)))
  }

  /** [x, A x] [W, scaling B]^T is W x + scaling B A x: the head's product stays one, over chunks of the vocabulary. */
  head(weights: Weights, name: string, states: Tensor, head: Tensor, positions: Tensor | null) {
    const a = weights.get(`${name}.lora_A.weight`)
    if (!a) return { states, head }
    const low = op.linear(this.#drop(name, states, positions), a)
    return {
      states: op.cat([states, low], 1),
      head: op.cat([head, weight(weights, `${name}.lora_B.weight`)], 1),
    }
  }

  #drop(name: string, x: Tensor, positions: Tensor | null = null): Tensor {
    if (!this.#keys) return x
    const { tokens, seedOf } = this.#keys
    return op.keyedDropout(x, positions ? tokens.indexSelect(0, positions) : tokens, seedOf(name), this.#dropout)
  }
}

function withoutBias(weights: Weights, name: string, base: Tensor): Tensor {
  const bias = weights.get(`${name}.bias`)
  return bias ? base.sub(bias) : base
}

/** Weights for a training pass: the same tensors, with an adapter that drops inputs. */
export function withDropout(weights: Weights, keys: () => DropoutKeys): Weights {
  const { adapter } = weights
  if (!(adapter instanceof LowRank && adapter.drops)) return weights
  const training = new Weights(weights.compute, weights)
  training.quantized = weights.quantized
  training.masters = weights.masters
  training.adapter = adapter.withDropout(keys())
  return training
}
