import type { Sequence } from './types.ts'

/** A run of tokens in a packed stream, seeing itself causally and all of its parent segment (-1: none). */
interface Segment {
  start: number
  length: number
  parent: number
}

/** Several prompts with their completions as one stream of tokens without padding, in which a prompt stands once for all its completions. */
export interface Packed {
  /** Token ids and their positions in their own rows, each [tokens]. */
  tokens: Int32Array
  positions: Int32Array
  segments: Segment[]
  /** For each completion token: the index of the token that predicts it, its id, and which of `rows` it belongs to. */
  targetPositions: Int32Array
  targets: Int32Array
  targetRow: Int32Array
  /** `Sequence.row` of each packed sequence. */
  rows: Int32Array
}

/** Packs sequences as a prefix tree of two levels. A row's last token is not in the stream, since nothing is predicted from it. */
export function pack(sequences: readonly Sequence[]): Packed {
  const stream = new Stream()
  const rows: number[] = []
  for (const group of byPrompt(sequences)) {
    const { prompt } = group[0]!
    if (group.length === 1) {
      const { completion, row } = group[0]!
      const start = stream.add([prompt, completion.subarray(0, -1)], 0, -1)
      stream.predict(start + prompt.length - 1, completion, rows.push(row) - 1)
      continue
    }
    const start = stream.add([prompt], 0, -1)
    const parent = stream.segments.length - 1
    for (const { completion, row } of group) {
      const index = rows.push(row) - 1
      stream.predict(start + prompt.length - 1, completion.subarray(0, 1), index)
      if (completion.length === 1) continue
      const own = stream.add([completion.subarray(0, -1)], prompt.length, parent)
      stream.predict(own, completion.subarray(1), index)
    }
  }
  return stream.packed(rows)
}

class Stream {
  readonly segments: Segment[] = []
  readonly #tokens: number[] = []
  readonly #positions: number[] = []
  readonly #targetPositions: number[] = []
  readonly #targets: number[] = []
  readonly #targetRow: number[] = []

  /** Appends a segment whose first token has the given position; returns where it starts. */
  add(parts: readonly Int32Array[], position: number, parent: number): number {
    const start = this.#tokens.length
    for (const part of parts) {
      for (const token of part) {
        this.#positions.push(position + this.#tokens.length - start)
        this.#tokens.push(token)
      }
    }
    this.segments.push({ start, length: this.#tokens.length - start, parent })
    return start
  }

  /** The token at `from` predicts the first target, the one after it the second, and so on. */
  predict(from: number, targets: Int32Array, row: number): void {
    for (const [i, target] of targets.entries()) {
      this.#targetPositions.push(from + i)
      this.#targets.push(target)
      this.#targetRow.push(row)
    }
  }

  packed(rows: readonly number[]): Packed {
    return {
      tokens: Int32Array.from(this.#tokens),
      positions: Int32Array.from(this.#positions),
      segments: this.segments,
      targetPositions: Int32Array.from(this.#targetPositions),
      targets: Int32Array.from(this.#targets),
      targetRow: Int32Array.from(this.#targetRow),
      rows: Int32Array.from(rows),
    }
  }
}

/** Sequences with equal prompts together, in the order of their first appearance. */
function byPrompt(sequences: readonly Sequence[]): Sequence[][] {
  const groups = new Map<number, Sequence[]>()
  for (const sequence of sequences) {
    const group = groups.get(sequence.promptGroup)
    if (group) group.push(sequence)
    else groups.set(sequence.promptGroup, [sequence])
  }
  return [...groups.values()]
}

/** Sequences of one unit together; units whose first sequences share a prompt come one after the other. */
function unitsByPrompt(sequences: readonly Sequence[]): Sequence[][] {
  const units = new Map<number | Sequence, Sequence[]>()
  for (const sequence of sequences) {
    const unit = units.get(sequence.unit ?? sequence)
    if (unit) unit.push(sequence)
    else units.set(sequence.unit ?? sequence, [sequence])
  }
  return byPrompt([...units.values()].map((unit) => unit[0]!)).flatMap((group) =>
    group.map((first) => units.get(first.unit ?? first)!),
  )
}

/**
 * Cuts sequences into micro-batches of at most `tokenBudget` packed tokens; a unit that is longer goes alone (a unit is one sequence, or those that
 * share a `unit` number). Those that share a prompt stay together as far as the budget allows.
 */
export function microBatches(sequences: readonly Sequence[], tokenBudget: number): Sequence[][] {
  const batches: Sequence[][] = []
  let batch: Sequence[] = []
  let tokens = 0
  for (const unit of unitsByPrompt(sequences)) {
    const cost = packedTokens(unit, batch.at(-1)?.promptGroup)
    if (batch.length > 0 && tokens + cost > tokenBudget) {
      batches.push(batch)
      batch = []
      tokens = 0
    }
    tokens += batch.length === 0 ? packedTokens(unit) : cost
    batch.push(...unit)
  }
  if (batch.length > 0) batches.push(batch)
  return batches
}

/** Tokens that sequences add to a stream that ends with a prompt of the group `previous`. */
function packedTokens(unit: readonly Sequence[], previous?: number): number {
  let last = previous
  return unit.reduce((sum, { prompt, completion, promptGroup }) => {
    const own = completion.length - 1 + (promptGroup === last ? 0 : prompt.length)
    last = promptGroup
    return sum + own
  }, 0)
}
