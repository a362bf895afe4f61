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
}

/**
 * Every epoch is a new shuffle. Partners come from the row's own batch where it has any that fit, used about equally often, else from the
 * rows that follow it in the epoch; so z0 is estimated over as many distinct pairs as the batch has rows.
 */
export function makePlan({ examples, seed, epochs, batchSize, maxSteps, mismatched }: PlanOptions): Plan {
  const stepsPerEpoch = Math.ceil(examples.length / batchSize)
  const steps = Math.min(stepsPerEpoch * epochs, maxSteps ?? Number.POSITIVE_INFINITY)
  const orderOf = remembered((epoch) => new Random('plan', seed, epoch).permutation(examples.length))
  const partnersExist = mismatched && hasMismatch(examples)
  const batch = remembered((step): PlannedBatch => {
    const epoch = Math.floor(step / stepsPerEpoch)
    const order = orderOf(epoch)
    const start = (step % stepsPerEpoch) * batchSize
    const rows = Array.from(order.subarray(start, start + batchSize))
    const partners = partnersExist ? choosePartners(examples, order, start, rows.length) : rows.map(() => null)
    return { epoch, rows, partners }
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
