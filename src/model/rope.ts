import { op } from '../tensor/operators.ts'
import { outsideScopes, scope } from '../tensor/scope.ts'
import { type Device, Tensor } from '../tensor/tensor.ts'
import { dependsOnLength, type RopeConfig, ropeAmplitude, ropeFrequencies, ropeRegime } from './frequencies.ts'

/** Cosines and sines of some positions, each [tokens, 1, size]. */
export interface Rotation {
  cos: Tensor
  sin: Tensor
}

/** Where the tokens of a stream stand in their rows. */
export interface StreamPositions {
  /** int64 [tokens], on the device that computes */
  positions: Tensor
  highestPosition: number
  /** The positions again, and how long the row of each token may become: where given, a row is turned by its own length. */
  rows?: { positions: Int32Array; lengths: Int32Array }
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

  /** `contextTokens`: the length that the frequencies are made for, where they depend on one. */
  at(stream: StreamPositions, contextTokens: number | null): Rotation {
    const { positions, highestPosition: highest, rows } = stream
    if (rows && contextTokens === null && dependsOnLength(this.#config)) return this.#byRow(rows, positions.device)
    const regime = ropeRegime(this.#config, contextTokens ?? highest + 1)
    const { cos, sin } = this.#upTo(highest + 1, regime, positions.device)
    return { cos: op.unsqueeze(cos.indexSelect(0, positions), 1), sin: op.unsqueeze(sin.indexSelect(0, positions), 1) }
  }

  /** Each token by the frequencies for its own row's length. */
  #byRow({ positions, lengths }: NonNullable<StreamPositions['rows']>, device: Device): Rotation {
    const half = this.#config.size / 2
    const known = new Map<number, Float32Array>()
    const angles = new Float32Array(positions.length * half)
    for (const [token, position] of positions.entries()) {
      const regime = ropeRegime(this.#config, lengths[token]!)
      const frequencies = known.get(regime) ?? ropeFrequencies(this.#config, regime)
      known.set(regime, frequencies)
      for (let i = 0; i < half; i++) angles[token * half + i] = position * frequencies[i]!
    }
    const { cos, sin } = turns(Tensor.from(angles, [positions.length, half]), ropeAmplitude(this.#config))
    return { cos: op.unsqueeze(cos.on(device), 1), sin: op.unsqueeze(sin.on(device), 1) }
  }

  #upTo(positions: number, regime: number, device: Device): Rotation {
    if (this.#tables && this.#tables.positions >= positions && this.#tables.regime === regime) return this.#tables
    this.dispose()
    const size = Math.max(256, 2 ** Math.ceil(Math.log2(positions)))
    const frequencies = ropeFrequencies(this.#config, regime)
    // Made outside of the caller's scope, since the tables outlive it.
    const made = outsideScopes(() => tables(frequencies, size, ropeAmplitude(this.#config), device))
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
 * Queries and keys turned by their positions, of their own float type; where the rotation is narrower than a head, the rest of the head stays.
 * Each [tokens, heads, headSize].
 */
export function rotate(queries: Tensor, keys: Tensor, { cos, sin }: Rotation): [queries: Tensor, keys: Tensor] {
  return op.rotaryEmbedding(queries, keys, cos, sin)
}

/** Computed on the processor: the same bits on all devices. */
function tables(frequencies: Float32Array, positions: number, amplitude: number, device: Device): Rotation {
  return scope(() => {
    const { cos, sin } = turns(op.outer(op.arange(positions, 'float32'), Tensor.from(frequencies)), amplitude)
    return { cos: cos.on(device), sin: sin.on(device) }
  })
}

/** Angles [n, size / 2] -> cosines and sines [n, size]. */
function turns(angles: Tensor, amplitude: number): Rotation {
  const both = op.cat([angles, angles], 1)
  const [cos, sin] = [op.cos(both), op.sin(both)]
  return amplitude === 1 ? { cos, sin } : { cos: cos.mul(amplitude), sin: sin.mul(amplitude) }
}
