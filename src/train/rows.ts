import type { Example } from '../data/types.ts'
import type { Needs, Rows, TokenTargets } from '../loss/objective.ts'
import { sumsByRow } from '../tensor/sums.ts'
import { type Device, Tensor } from '../tensor/tensor.ts'

/** Log-probabilities of some rows: sums, and those of their tokens, row after row, where the objective needs them. */
export interface PolicyLogps {
  sums: Tensor
  tokens: Tensor | null
  /** What the states before these tokens are worth, where the objective needs it. */
  values?: Tensor | null
}

/** The same under the reference, by row. */
export interface ReferenceRows {
  sums: ArrayLike<number>
  tokens: readonly Float32Array[] | null
}

type Judged = Pick<Example, 'completion' | 'desirable' | 'pair'>

/** Rows as an objective sees them, in the order of `examples`; `targets` by row, where it needs values. Make it inside of scope(). */
export function lossRows(
  needs: Needs,
  examples: readonly Judged[],
  policy: PolicyLogps,
  reference: ReferenceRows | null,
  targets: TokenTargets | null = null,
): Rows {
  const lengths = examples.map(({ completion }) => completion.length)
  const count = examples.length
  const known = needs.reference ? reference : null
  const { device } = policy.sums
  return {
    policy: policy.sums,
    reference: known && Tensor.from(Float32Array.from(known.sums), undefined, undefined, device),
    desirable: Tensor.from(
      Uint8Array.from(examples, ({ desirable }) => Number(desirable)),
      [count],
      'bool',
      device,
    ),
    lengths: Tensor.from(Float32Array.from(lengths), undefined, undefined, device),
    pairs: needs.pairs ? pairTensors(examples, device) : null,
    tokens: policy.tokens && {
      policy: policy.tokens,
      reference: known?.tokens ? Tensor.from(concatenated(known.tokens), undefined, undefined, device) : null,
      row: Tensor.from(rowOfToken(lengths), undefined, 'int64', device),
      values: policy.values ?? null,
      targets: targets && {
        advantages: Tensor.from(concatenated(targets.advantages), undefined, undefined, device),
        returns: Tensor.from(concatenated(targets.returns), undefined, undefined, device),
      },
    },
  }
}

/** Sums of token values, row after row, as the decoder adds them up. */
export function sumsOfRows(tokens: Tensor, examples: readonly Pick<Example, 'completion'>[]): Tensor {
  return sumsByRow(tokens, rowOfToken(examples.map(({ completion }) => completion.length)), examples.length)
}

/** The positions of the rows of each pair. Throws where a row's partner is not among them. */
export function pairPositions(examples: readonly Judged[]): { chosen: number; rejected: number }[] {
  const open = new Map<number | undefined, number>()
  const pairs: { chosen: number; rejected: number }[] = []
  for (const [position, { pair, desirable }] of examples.entries()) {
    const partner = open.get(pair)
    if (partner === undefined) open.set(pair, position)
    else {
      pairs.push(desirable ? { chosen: position, rejected: partner } : { chosen: partner, rejected: position })
      open.delete(pair)
    }
  }
  if (open.size > 0) throw new Error(`${open.size} rows of a paired batch have no partner in it`)
  return pairs
}

/** The weights that losses are multiplied by, by row or, where the objective takes pairs, by pair, the mean of its rows'; null where all are 1. */
export function lossWeights(
  needs: Needs,
  examples: readonly (Judged & Pick<Example, 'weight'>)[],
  device?: Device,
): Tensor | null {
  if (examples.every(({ weight = 1 }) => weight === 1)) return null
  const weights = examples.map(({ weight = 1 }) => weight)
  const of = needs.pairs
    ? pairPositions(examples).map(({ chosen, rejected }) => (weights[chosen]! + weights[rejected]!) / 2)
    : weights
  return Tensor.from(Float32Array.from(of), undefined, undefined, device)
}

function pairTensors(examples: readonly Judged[], device: Device): Rows['pairs'] {
  const pairs = pairPositions(examples)
  const tensor = (positions: number[]) => Tensor.from(Int32Array.from(positions), [pairs.length], 'int64', device)
  return {
    chosen: tensor(pairs.map(({ chosen }) => chosen)),
    rejected: tensor(pairs.map(({ rejected }) => rejected)),
  }
}

function rowOfToken(lengths: readonly number[]): Int32Array {
  return Int32Array.from(lengths.flatMap((length, row) => new Array<number>(length).fill(row)))
}

export function concatenated(parts: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const part of parts) {
    result.set(part, offset)
    offset += part.length
  }
  return result
}
