import { op } from '../tensor/operators.ts'
import { outsideScopes, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { RopeConfig } from './config.ts'

/**
 * Rotary position embedding (Su et al., arXiv 2104.09864) in Hugging Face's layout: element i of a head turns with element i + headSize / 2.
 * Holds cosines and sines up to the longest position met so far.
 */
export class Rope {
  readonly #frequencies: Float32Array
  #tables: { cos: Tensor; sin: Tensor; positions: number } | null = null

  constructor(config: RopeConfig, headSize: number) {
    this.#frequencies = inverseFrequencies(config, headSize)
  }

  /** Cosines and sines of some positions, each [tokens, 1, headSize]. `positions`: int64 [tokens], none over `highest`. */
  at(positions: Tensor, highest: number): { cos: Tensor; sin: Tensor } {
    const { cos, sin } = this.#upTo(highest + 1)
    return { cos: op.unsqueeze(cos.indexSelect(0, positions), 1), sin: op.unsqueeze(sin.indexSelect(0, positions), 1) }
  }

  #upTo(positions: number): { cos: Tensor; sin: Tensor } {
    if (this.#tables && this.#tables.positions >= positions) return this.#tables
    this.dispose()
    const size = Math.max(256, 2 ** Math.ceil(Math.log2(positions)))
    // Made outside of the caller's scope, since the tables outlive it.
    this.#tables = { ...outsideScopes(() => tables(this.#frequencies, size)), positions: size }
    return this.#tables
  }

  dispose(): void {
    this.#tables?.cos.dispose()
    this.#tables?.sin.dispose()
    this.#tables = null
  }
}

/** x turned by its position. x [tokens, heads, headSize], of any float type; the result is float32 where cos and sin are. */
export function rotate(x: Tensor, { cos, sin }: { cos: Tensor; sin: Tensor }): Tensor {
  const half = cos.shape[2]! / 2
  const turned = op.cat([x.narrow(2, half, half).neg(), x.narrow(2, 0, half)], 2)
  return x.mul(cos).add(turned.mul(sin))
}

function tables(frequencies: Float32Array, positions: number): { cos: Tensor; sin: Tensor } {
  return scope(() => {
    const angles = op.outer(op.arange(positions, 'float32'), Tensor.from(frequencies))
    const both = op.cat([angles, angles], 1)
    return { cos: op.cos(both), sin: op.sin(both) }
  })
}

/** theta^(-2i / headSize), stretched as the scaling says; float32, as the models were trained with. */
function inverseFrequencies({ theta, scaling }: RopeConfig, headSize: number): Float32Array {
  const plain = Float32Array.from(
    { length: headSize / 2 },
    (_, i) => 1 / Math.fround(theta ** Math.fround((2 * i) / headSize)),
  )
  if (scaling.type === 'default') return plain
  if (scaling.type === 'linear') return plain.map((frequency) => frequency / scaling.factor)
  // Llama 3.1: slow turns are stretched, fast ones kept, those between interpolated
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions } = scaling
  return plain.map((frequency) => {
    const turns = (originalMaxPositions * frequency) / (2 * Math.PI)
    if (turns < low) return frequency / factor
    if (turns > high) return frequency
    const smooth = (turns - low) / (high - low)
    return ((1 - smooth) * frequency) / factor + smooth * frequency
  })
}
