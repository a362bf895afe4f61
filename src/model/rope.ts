import { op } from '../tensor/operators.ts'
import { outsideScopes, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { type RopeConfig, ropeAmplitude, ropeFrequencies, ropeRegime } from './frequencies.ts'

/** Cosines and sines of some positions, each [tokens, 1, size]. */
export interface Rotation {
  cos: Tensor
  sin: Tensor
}

/**
 * Rotary position embedding (Su et al., arXiv 2104.09864) in Hugging Face's layout: of the elements that are turned, element i turns with
 * element i + size / 2. Holds cosines and sines up to the longest position met so far.
 */
export class Rope {
  readonly #config: RopeConfig
  #tables: { cos: Tensor; sin: Tensor; positions: number; regime: number } | null = null

  constructor(config: RopeConfig) {
    this.#config = config
  }

  /**
   * `positions`: int64 [tokens], none over `highest`. `context`: tokens of the longest row, which dynamic and longrope scaling depend on;
   * where it is not given, that of these positions, as in transformers.
   */
  at(positions: Tensor, highest: number, context = highest + 1): Rotation {
    const { cos, sin } = this.#upTo(highest + 1, ropeRegime(this.#config, context))
    return { cos: op.unsqueeze(cos.indexSelect(0, positions), 1), sin: op.unsqueeze(sin.indexSelect(0, positions), 1) }
  }

  #upTo(positions: number, regime: number): Rotation {
    if (this.#tables && this.#tables.positions >= positions && this.#tables.regime === regime) return this.#tables
    this.dispose()
    const size = Math.max(256, 2 ** Math.ceil(Math.log2(positions)))
    const frequencies = ropeFrequencies(this.#config, regime)
    // Made outside of the caller's scope, since the tables outlive it.
    const made = outsideScopes(() => tables(frequencies, size, ropeAmplitude(this.#config)))
    this.#tables = { ...made, positions: size, regime }
    return this.#tables
  }

  dispose(): void {
    this.#tables?.cos.dispose()
    this.#tables?.sin.dispose()
    this.#tables = null
  }
}

/**
 * x turned by its position; where the rotation is narrower than a head, the rest of the head stays. x [tokens, heads, headSize], of any float
 * type; the result is float32 where cos and sin are.
 */
export function rotate(x: Tensor, { cos, sin }: Rotation): Tensor {
  const headSize = x.shape[2]!
  const size = cos.shape[2]!
  const half = size / 2
  const moved = size === headSize ? x : x.narrow(2, 0, size)
  const turned = op.cat([x.narrow(2, half, half).neg(), x.narrow(2, 0, half)], 2)
  const rotated = moved.mul(cos).add(turned.mul(sin))
  return size === headSize ? rotated : op.cat([rotated, x.narrow(2, size, headSize - size).to(rotated.dtype)], 2)
}

function tables(frequencies: Float32Array, positions: number, amplitude: number): Rotation {
  return scope(() => {
    const angles = op.outer(op.arange(positions, 'float32'), Tensor.from(frequencies))
    const both = op.cat([angles, angles], 1)
    const [cos, sin] = [op.cos(both), op.sin(both)]
    return amplitude === 1 ? { cos, sin } : { cos: cos.mul(amplitude), sin: sin.mul(amplitude) }
  })
}
