import { createHash } from 'node:crypto'
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** A stream of random numbers that is a function of its keys alone: seed, epoch, row, what it is for. */
export class Random {
  readonly #generator: ReturnType<typeof xoroshiro128plus>

  constructor(...keys: readonly (string | number)[]) {
    this.#generator = xoroshiro128plus(createHash('sha256').update(JSON.stringify(keys)).digest().readInt32LE())
  }

  /** 0 <= x < 1 */
  share(): number {
    return uniformFloat64(this.#generator)
  }

  /** A whole number 0 ... below - 1. */
  below(below: number): number {
    return uniformInt(this.#generator, 0, below - 1)
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!
  }

  /** 0 ... count - 1 in random order (Fisher-Yates). */
  permutation(count: number): Int32Array {
    const order = Int32Array.from({ length: count }, (_, i) => i)
    for (let i = count - 1; i > 0; i--) {
      const j = this.below(i + 1)
      const held = order[i]!
      order[i] = order[j]!
      order[j] = held
    }
    return order
  }
}
