import { join } from 'node:path'
import { pack } from '../data/pack.ts'
import { Random } from '../data/random.ts'
import type { Sequence } from '../data/types.ts'
import type { TokenTargets } from '../loss/objective.ts'
import type { Decoder, Weights } from '../model/decoder.ts'
import { ValueHead } from '../model/value-head.ts'
import { op } from '../tensor/operators.ts'
import { readSafetensors, type WriteTensors, writeSafetensors } from '../tensor/safetensors.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { AdamW, type AdamWOptions } from './optimizer.ts'

/** File of the value head in a run directory and in its checkpoints; there with the optimiser's moments. */
export const valueHeadFile = 'value-head.safetensors'

/** What the head's gradients are scaled down to, apart from the policy's: as HALOs has it (`v_head_max_grad_norm`). */
const maxGradNorm = 0.1

/** The value head of a run, and its optimiser: the policy's settings, with a clip of its own. */
export class Critic {
  readonly head: ValueHead
  readonly #optimizer: AdamW

  constructor({ config, device }: Pick<Decoder, 'config' | 'device'>, seed: number, options: AdamWOptions) {
    this.head = ValueHead.create(config.hiddenSize, new Random('value head', seed).below(2 ** 31), device)
    for (const parameter of this.head.parameters.values()) parameter.withGrad()
    this.#optimizer = new AdamW(this.head.parameters, { ...options, type: 'adamw', maxGradNorm })
  }

  values(states: Tensor): Tensor {
    return this.head.values(states)
  }

  gradientNorm(): number {
    return this.#optimizer.gradientNorm()
  }

  update(factor: number): void {
    this.#optimizer.update(factor, this.gradientNorm())
  }

  clearGradients(): void {
    this.#optimizer.clearGradients()
  }

  /** Into a checkpoint's folder. */
  write(folder: string, write: WriteTensors): void {
    write(
      join(folder, valueHeadFile),
      [...this.#stored()].flatMap(([prefix, tensors]) =>
        [...tensors].map(([name, tensor]): [string, Tensor] => [prefix + name, tensor]),
      ),
    )
  }

  /** Takes what a checkpoint holds, after so many updates. */
  restore(folder: string, updates: number): void {
    const { tensors } = readSafetensors(join(folder, valueHeadFile))
    noGrad(() =>
      scope(() => {
        for (const [prefix, targets] of this.#stored())
          for (const [name, target] of targets) op.copyInPlace(target, tensors.get(prefix + name)!.load())
      }),
    )
    this.#optimizer.step = updates
  }

  /** The head alone, beside the model that it was learnt with. */
  save(folder: string): void {
    writeSafetensors(join(folder, valueHeadFile), [...this.head.parameters])
  }

  dispose(): void {
    this.#optimizer.dispose()
    this.head.dispose()
  }

  #stored() {
    const { firstMoments, secondMoments } = this.#optimizer
    return new Map([
      ['', this.head.parameters],
      ['exp_avg.', firstMoments],
      ['exp_avg_sq.', secondMoments],
    ])
  }
}

/** Values of the states before each completion token, without gradient, by `row` of the sequences, which come in micro-batches. */
export function sequenceValues(
  decoder: Decoder,
  weights: Weights,
  critic: Critic,
  micros: readonly (readonly Sequence[])[],
): Float32Array[] {
  const result: Float32Array[] = []
  for (const micro of micros) {
    const packed = pack(micro)
    const values = scope(() => noGrad(() => critic.values(decoder.tokenOutputs(weights, packed).states).toArray()))
    intoRows(values, micro, packed.rows, result)
  }
  return result
}

/** Cuts the values of a pass, whose rows' tokens lie one row after the other, into those rows. */
export function intoRows(
  values: Float32Array,
  sequences: readonly Sequence[],
  rows: ArrayLike<number>,
  into: Float32Array[],
): void {
  const lengths = new Map(sequences.map(({ row, completion }) => [row, completion.length]))
  let offset = 0
  for (const row of Array.from(rows)) {
    const length = lengths.get(row)!
    into[row] = values.slice(offset, offset + length)
    offset += length
  }
}

/** The targets of some of the rows. */
export function targetsOf({ advantages, returns }: TokenTargets, rows: readonly number[]): TokenTargets {
  return { advantages: rows.map((row) => advantages[row]!), returns: rows.map((row) => returns[row]!) }
}
