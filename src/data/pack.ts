import type { Sequence } from './types.ts'

/**
 * A run of tokens in a packed stream, seeing itself causally and all of its parent segment (-1: none). A foreign one lies in another stream,
 * whose keys and values are known, and is only seen.
 */
interface Segment {
  start: number
  length: number
  parent: number
  foreign?: boolean
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
  /** Where the tokens of each prompt begin, by `promptGroup`. */
  promptStarts: ReadonlyMap<number, number>
}

/**
 * Packs sequences as a prefix tree of two levels. A row's last token is not in the stream, since nothing is predicted from it. Of prompts that
 * another stream has (`elsewhere`, its promptStarts) only the last token is: its hidden state predicts the first of the completion.
 */
export function pack(sequences: readonly Sequence[], elsewhere?: ReadonlyMap<number, number>): Packed {
  const groups = byPrompt(sequences)
  const stream = new Stream(groups, elsewhere)
  for (const group of groups) {
    const { prompt, promptGroup } = group[0]!
    const known = elsewhere?.get(promptGroup)
    if (known !== undefined) stream.addToKnown(group, known)
    else if (group.length === 1) stream.addAlone(group[0]!)
    else stream.addTree(group, prompt)
  }
  return stream.packed()
}

/** Tokens of a group of sequences with one prompt, in the stream that pack() makes. */
function streamTokens(group: readonly Sequence[], known: boolean): number {
  const { prompt } = group[0]!
  const completions = group.reduce((sum, { completion }) => sum + completion.length - 1, 0)
  return completions + (known ? group.length : prompt.length)
}

class Stream {
  readonly #packed: Packed
  readonly #promptStarts = new Map<number, number>()
  #tokens = 0
  #targets = 0
  #rows = 0

  constructor(groups: readonly Sequence[][], elsewhere?: ReadonlyMap<number, number>) {
    let tokens = 0
    let targets = 0
    let rows = 0
    for (const group of groups) {
      tokens += streamTokens(group, elsewhere?.has(group[0]!.promptGroup) ?? false)
      targets += group.reduce((sum, { completion }) => sum + completion.length, 0)
      rows += group.length
    }
    this.#packed = {
      tokens: new Int32Array(tokens),
      positions: new Int32Array(tokens),
      segments: [],
      targetPositions: new Int32Array(targets),
      targets: new Int32Array(targets),
      targetRow: new Int32Array(targets),
      rows: new Int32Array(rows),
      promptStarts: this.#promptStarts,
    }
  }

  /** A prompt with its only completion: one segment. */
  addAlone({ prompt, completion, promptGroup, row }: Sequence): void {
    const start = this.#add([prompt, completion.subarray(0, -1)], 0, -1)
    this.#promptStarts.set(promptGroup, start)
    this.#predict(start + prompt.length - 1, completion, this.#addRow(row))
  }

  /** A prompt, and a segment below it for each completion. */
  addTree(group: readonly Sequence[], prompt: Int32Array): void {
    const start = this.#add([prompt], 0, -1)
    this.#promptStarts.set(group[0]!.promptGroup, start)
    const parent = this.#packed.segments.length - 1
    for (const { completion, row } of group) {
      const index = this.#addRow(row)
      this.#predict(start + prompt.length - 1, completion.subarray(0, 1), index)
      if (completion.length === 1) continue
      const own = this.#add([completion.subarray(0, -1)], prompt.length, parent)
      this.#predict(own, completion.subarray(1), index)
    }
  }

  /** Completions of a prompt that begins at `start` of another stream. */
  addToKnown(group: readonly Sequence[], start: number): void {
    const { prompt } = group[0]!
    const { segments } = this.#packed
    const length = prompt.length - 1
    const parent = length > 0 ? segments.push({ start, length, parent: -1, foreign: true }) - 1 : -1
    for (const { completion, row } of group) {
      const own = this.#add([prompt.subarray(length), completion.subarray(0, -1)], length, parent)
      this.#predict(own, completion, this.#addRow(row))
    }
  }

  packed(): Packed {
    return this.#packed
  }

  #addRow(row: number): number {
    this.#packed.rows[this.#rows] = row
    return this.#rows++
  }

  /** Appends a segment whose first token has the given position; returns where it starts. */
  #add(parts: readonly Int32Array[], position: number, parent: number): number {
    const { tokens, positions, segments } = this.#packed
    const start = this.#tokens
    for (const part of parts) {
      tokens.set(part, this.#tokens)
      this.#tokens += part.length
    }
    for (let i = start; i < this.#tokens; i++) positions[i] = position + i - start
    segments.push({ start, length: this.#tokens - start, parent })
    return start
  }

  /** The token at `from` predicts the first target, the one after it the second, and so on. */
  #predict(from: number, targets: Int32Array, row: number): void {
    const packed = this.#packed
    const first = this.#targets
    this.#targets += targets.length
    packed.targets.set(targets, first)
    packed.targetRow.fill(row, first, this.#targets)
    for (let i = first; i < this.#targets; i++) packed.targetPositions[i] = from + i - first
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
 * share a `unit` number). Those that share a prompt stay together as far as the budget allows, and the batches are about equally long.
 */
export function microBatches(sequences: readonly Sequence[], tokenBudget: number): Sequence[][] {
  const units = unitsByPrompt(sequences)
  const fewest = cut(units, tokenBudget)
  if (fewest.length < 2) return fewest
  // The smallest budget that needs no more batches than the whole one: then none is nearly empty.
  let [low, high] = [Math.floor(tokenBudget / 2), tokenBudget]
  let best = fewest
  while (high - low > Math.max(1, tokenBudget / 64)) {
    const middle = Math.floor((low + high) / 2)
    const batches = cut(units, middle)
    if (batches.length > fewest.length) low = middle
    else {
      high = middle
      best = batches
    }
  }
  return best
}

/** Fills one batch after the other up to the budget. */
function cut(units: readonly Sequence[][], tokenBudget: number): Sequence[][] {
  const batches: Sequence[][] = []
  let batch: Sequence[] = []
  let tokens = 0
  for (const unit of units) {
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
export function packedTokens(unit: readonly Sequence[], previous?: number): number {
  let last = previous
  return unit.reduce((sum, { prompt, completion, promptGroup }) => {
    const own = completion.length - 1 + (promptGroup === last ? 0 : prompt.length)
    last = promptGroup
    return sum + own
  }, 0)
}
