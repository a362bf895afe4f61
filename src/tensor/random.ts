import { addon } from './addon.ts'
import { Tensor } from './tensor.ts'

/** A seeded random generator on the CPU, for `op.normal` and the like; its state can be stored and restored. */
export class Generator {
  readonly index: number

  constructor(seed: number) {
    this.index = addon().generator(seed)
  }
  /** uint8, one-dimensional. */
  get state(): Tensor {
    return new Tensor(addon().generatorState(this.index))
  }
  set state(state: Tensor) {
    addon().setGeneratorState(this.index, state.handle)
  }
}
