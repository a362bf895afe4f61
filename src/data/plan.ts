import { Random } from './random.ts'
import type { Example } from './types.ts'

export interface PlanOptions {
  examples: readonly Example[]
  seed: number
  epochs: number
  /** Rows of a global batch; the last one of an epoch may be shorter. */
  batchSize: number
  /** Ends the plan early. */
  maxSteps?: number
  /** Whether each row gets a mismatched partner. */
  mismatched: boolean
  /** Blocks of so many rows in which every row gets all the partners that fit, rather than one of the batch. */
  mismatchedBlock?: number | undefined
  /** The examples are pairs, those with equal `pair` numbers: a batch holds whole ones. */
  pairs?: boolean
}

/** Which examples each step takes, and with which mismatched partners: a pure function of its options. */
export interface Plan {
  readonly steps: number
  readonly stepsPerEpoch: number
  /** One global batch; steps count from 0. */
  batch(step: number): PlannedBatch
}

export interface PlannedBatch {
  /** Passes over the data completed before this step. */
  epoch: number
  /** Indices of examples. */
  rows: readonly number[]
  /** For each row, the example whose completion is its y': of another prompt, and another text. null where the data set has none. */
  partners: readonly (number | null)[]
  /** All mismatched pairs of the step, by example index: `partners`, or all of a block. */
  mismatches: readonly Mismatch[]
}

/** A row, and the example whose completion it is paired with. */
export interface Mismatch {
  row: number
  partner: number
}

/**
 * Every epoch is a new shuffle. Partners come from the row's own batch where it has any that fit, used about equally often, else from the
 * rows that follow it in the epoch; so z0 is estimated over as many distinct pairs as the batch has rows.
 */
export function makePlan(options: PlanOptions): Plan {
  const { examples, seed, epochs, maxSteps, mismatched, mismatchedBlock } = options
  const units = options.pairs ? pairUnits(examples) : examples.map((_, index) => [index])
  const unitsInBatch = Math.max(1, Math.floor(options.batchSize / (options.pairs ? 2 : 1)))
  const stepsPerEpoch = Math.ceil(units.length / unitsInBatch)
  const steps = Math.min(stepsPerEpoch * epochs, maxSteps ?? Number.POSITIVE_INFINITY)
  const batchSize = unitsInBatch * (options.pairs ? 2 : 1)
  const orderOf = remembered((epoch) => {
    const order = new Random('plan', seed, epoch).permutation(units.length)
    return options.pairs ? Int32Array.from(Array.from(order).flatMap((unit) => units[unit]!)) : order
  })
  const partnersExist = mismatched && hasMismatch(examples)
  const batch = remembered((step): PlannedBatch => {
    const epoch = Math.floor(step / stepsPerEpoch)
    const order = orderOf(epoch)
    const start = (step % stepsPerEpoch) * batchSize
    const rows = Array.from(order.subarray(start, start + batchSize))
    const partners = partnersExist ? choosePartners(examples, order, start, rows.length) : rows.map(() => null)
    const single = rows.flatMap((row, i) => (partners[i] == null ? [] : [{ row, partner: partners[i] }]))
    return {
      epoch,
      rows,
      partners,
      mismatches: mismatchedBlock ? allOfBlocks(examples, single, mismatchedBlock) : single,
    }
  })
  return {
    steps,
    stepsPerEpoch,
    batch(step) {
      if (!Number.isInteger(step) || step < 0 || step >= steps) {
        throw new RangeError(`step ${step} is not in the plan: it has steps 0 to ${steps - 1}`)
      }
      return batch(step)
    },
  }
}

/** The indices of each pair's two examples, the chosen first. Throws for an example that is not half of one. */
function pairUnits(examples: readonly Example[]): number[][] {
  const units = new Map<number | undefined, number[]>()
  for (const { index, pair, desirable } of examples) {
    const unit = units.get(pair) ?? []
    units.set(pair, desirable ? [index, ...unit] : [...unit, index])
  }
  const whole = [...units.values()]
  if (units.has(undefined) || whole.some((unit) => unit.length !== 2))
    throw new Error('a plan of pairs needs pairs only')
  return whole
}

/** Every mismatch within blocks of rows; a row that has none there keeps its single one. */
function allOfBlocks(examples: readonly Example[], single: readonly Mismatch[], block: number): Mismatch[] {
  return single.flatMap((own, i) => {
    const start = i - (i % block)
    const others = single.slice(start, start + block).map(({ row }) => row)
    const all = others.filter((other) => fits(examples, own.row, other))
    return all.length === 0 ? [own] : all.map((partner) => ({ row: own.row, partner }))
  })
}

/** Keeps the last result. */
function remembered<R>(compute: (key: number) => R): (key: number) => R {
  let last: { key: number; value: R } | null = null
  return (key) => {
    if (last?.key !== key) last = { key, value: compute(key) }
    return last.value
  }
}

/** Whether y of `other` is a mismatched completion for x of `row`. */
function fits(examples: readonly Example[], row: number, other: number): boolean {
  const [a, b] = [examples[row]!, examples[other]!]
  return a.promptGroup !== b.promptGroup && a.completionGroup !== b.completionGroup
}

function hasMismatch(examples: readonly Example[]): boolean {
  const first = examples[0]
  const differs = (of: (example: Example) => number) => examples.some((example) => of(example) !== of(first!))
  return differs(({ promptGroup }) => promptGroup) && differs(({ completionGroup }) => completionGroup)
}

function choosePartners(
  examples: readonly Example[],
  order: Int32Array,
  start: number,
  count: number,
): (number | null)[] {
  const rows = Array.from(order.subarray(start, start + count))
  for (let shift = 1; shift < count; shift++) {
    const shifted = rows.map((_, i) => rows[(i + shift) % count]!)
    if (rows.every((row, i) => fits(examples, row, shifted[i]!))) return shifted
  }
  const uses = new Int32Array(count)
  return rows.map((row, i) => {
    const within = leastUsed(count, i, uses, (j) => fits(examples, row, rows[j]!))
    if (within === null) return nextInEpoch(examples, order, start + count + i, row)
    uses[within]!++
    return rows[within]!
  })
}

/** Of the positions that fit, the one used least, nearest after `from` in the batch. */
function leastUsed(count: number, from: number, uses: Int32Array, suits: (position: number) => boolean): number | null {
  let best: number | null = null
  for (let offset = 1; offset < count; offset++) {
    const position = (from + offset) % count
    if ((best === null || uses[position]! < uses[best]!) && suits(position)) best = position
  }
  return best
}

/** The first example from a position of the epoch on that fits; after the epoch's end comes its beginning. */
function nextInEpoch(examples: readonly Example[], order: Int32Array, from: number, row: number): number | null {
  for (let offset = 0; offset < order.length; offset++) {
    const other = order[(from + offset) % order.length]!
    if (fits(examples, row, other)) return other
  }
  return null
}
