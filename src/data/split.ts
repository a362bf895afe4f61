import { Random } from './random.ts'

export interface SplitOptions {
  /** Of the rows, about; 0: none are held out. */
  share: number
  seed: number
  /** Units at random, or those with the newest rows. */
  by: 'random' | 'time'
  /** Whether each part gets its share of prompts with thumbs up only, thumbs down only, and both. */
  stratify: boolean
}

/** What the split looks at, a row each. */
export interface SplitColumns {
  /** Rows that are equal in any of these are on the same side; negative numbers are equal to nothing. */
  together: readonly ArrayLike<number>[]
  label: ArrayLike<number>
  time?: ArrayLike<number>
}

/**
 * Which rows are held out. What `together` joins (prompts, and the values of a column) is never on both sides. Where there are two units to
 * part, neither side is left empty.
 */
export function heldOutRows(columns: SplitColumns, options: SplitOptions): Uint8Array {
  const unit = joinedUnits(columns)
  const units = unit.length === 0 ? 0 : Math.max(...chunkMaxima(unit)) + 1
  const most = units - 1
  const wanted = options.share === 0 || most < 1 ? 0 : Math.min(most, Math.max(1, Math.round(options.share * units)))
  const held =
    options.by === 'time'
      ? newestUnits(columns, unit, units, wanted)
      : randomUnits(columns, unit, units, wanted, options)
  return Uint8Array.from(unit, (of) => held[of]!)
}

/**
 * Which rows are in a random sample of at most `count`: with thumbs-up rows, thumbs-down rows and units of both in their shares. What `together`
 * joins is in it as a whole or not at all.
 */
export function sampledRows(columns: SplitColumns, count: number, seed: number): Uint8Array {
  const unit = joinedUnits(columns)
  const members: number[][] = []
  for (const [row, of] of unit.entries()) {
    members[of] ??= []
    members[of].push(row)
  }
  const strata = strataOf(columns, unit, members.length)
  const sizes = [0, 0, 0, 0]
  for (const [i, rows] of members.entries()) sizes[strata[i]!]! += rows.length
  const left = largestRemainders(sizes, Math.min(count, unit.length))
  const sampled = new Uint8Array(unit.length)
  for (const candidate of new Random('sample', seed).permutation(members.length)) {
    const rows = members[candidate]!
    const stratum = strata[candidate]!
    if (rows.length > left[stratum]!) continue
    left[stratum]! -= rows.length
    for (const row of rows) sampled[row] = 1
  }
  return sampled
}

/** Maxima of pieces: Math.max takes no arguments by the million. */
function chunkMaxima(values: Int32Array): number[] {
  return Array.from({ length: Math.ceil(values.length / 10_000) }, (_, i) =>
    Math.max(...values.subarray(i * 10_000, (i + 1) * 10_000)),
  )
}

/** Numbers from 0 in the order of first appearance. */
function renumbered(values: ArrayLike<number>): Int32Array {
  const numbers = new Map<number, number>()
  return Int32Array.from({ length: values.length }, (_, i) => {
    const value = values[i]!
    const known = numbers.get(value)
    if (known !== undefined) return known
    numbers.set(value, numbers.size)
    return numbers.size - 1
  })
}

/** Rows that are equal in a column, directly or through others, are one unit (union-find). */
function joinedUnits({ together, label }: SplitColumns): Int32Array {
  const parent = Int32Array.from({ length: label.length }, (_, i) => i)
  const root = (row: number): number => {
    let at = row
    while (parent[at] !== at) {
      parent[at] = parent[parent[at]!]!
      at = parent[at]!
    }
    return at
  }
  for (const values of together) {
    const first = new Map<number, number>()
    for (let row = 0; row < values.length; row++) {
      const value = values[row]!
      if (value < 0) continue
      const known = first.get(value)
      if (known === undefined) first.set(value, row)
      else parent[root(row)] = root(known)
    }
  }
  return renumbered(Int32Array.from({ length: label.length }, (_, row) => root(row)))
}

function randomUnits(
  columns: SplitColumns,
  unit: Int32Array,
  units: number,
  wanted: number,
  options: SplitOptions,
): Uint8Array {
  const held = new Uint8Array(units)
  const strata = options.stratify ? strataOf(columns, unit, units) : new Uint8Array(units)
  const order = new Random('split', options.seed).permutation(units)
  const sizes = [0, 0, 0, 0]
  for (const stratum of strata) sizes[stratum]!++
  const quotas = largestRemainders(sizes, wanted)
  for (const candidate of order) {
    const stratum = strata[candidate]!
    if (quotas[stratum]! <= 0) continue
    quotas[stratum]!--
    held[candidate] = 1
  }
  return held
}

/** 1: down only, 2: up only, 3: both. */
function strataOf({ label }: SplitColumns, unit: Int32Array, units: number): Uint8Array {
  const strata = new Uint8Array(units)
  for (let row = 0; row < unit.length; row++) strata[unit[row]!]! |= label[row] ? 2 : 1
  return strata
}

/** `wanted` shared out by `sizes`, whole numbers, in all exactly `wanted`. */
function largestRemainders(sizes: readonly number[], wanted: number): number[] {
  const total = sizes.reduce((sum, size) => sum + size, 0)
  const exact = sizes.map((size) => (total === 0 ? 0 : (size * wanted) / total))
  const quotas = exact.map(Math.floor)
  const order = exact.map((_, i) => i).sort((a, b) => exact[b]! - quotas[b]! - (exact[a]! - quotas[a]!) || a - b)
  for (let i = 0, left = wanted - quotas.reduce((sum, quota) => sum + quota, 0); left > 0; i++, left--)
    quotas[order[i]!]!++
  return quotas
}

/** The prompts whose newest row is the newest. */
function newestUnits({ time }: SplitColumns, unit: Int32Array, units: number, wanted: number): Uint8Array {
  const newest = new Float64Array(units).fill(Number.NEGATIVE_INFINITY)
  for (let row = 0; row < unit.length; row++) newest[unit[row]!] = Math.max(newest[unit[row]!]!, time![row]!)
  const order = Int32Array.from({ length: units }, (_, i) => i).sort((a, b) => newest[b]! - newest[a]! || a - b)
  const held = new Uint8Array(units)
  for (const chosen of order.subarray(0, wanted)) held[chosen] = 1
  return held
}
