import { nearDuplicates } from './near.ts'
import { originText } from './origin.ts'
import { Random } from './random.ts'
import { flag, originOf, type RowTable } from './table.ts'

/** Which rows of a table are used, and how much each counts. All are off by default. */
export interface ChoiceOptions {
  seed: number
  /** Rows with the same prompt, completion and label beyond the first: kept, or dropped. */
  duplicates?: 'keep' | 'drop'
  /** Similarity from which texts with one label are near duplicates; the first is kept. Needs signatures. */
  nearDuplicates?: number | null
  /** The same prompt and completion with both labels: kept, all dropped, dropped but for the majority, or weighted by agreement. */
  contradictions?: 'keep' | 'drop' | 'majority' | 'weight'
  empty?: 'keep' | 'drop'
  boilerplate?: 'keep' | 'drop'
  personal?: 'keep' | 'mask' | 'drop'
  /** Drop rows that were over the length limit. */
  tooLong?: 'cut' | 'drop'
  /** Share of the desirable and of the undesirable rows that is kept. */
  keepDesirable?: number
  keepUndesirable?: number
  /** One row a prompt, chosen at random: the paper's one-y-per-x. */
  onePerPrompt?: boolean
  /** Rows of the larger class are dropped, or weigh less, until both classes weigh the same. */
  balance?: 'none' | 'drop' | 'weight'
  /** Weights by annotator; `equal`: all that one annotator's rows weigh together is the same for each. */
  annotatorWeights?: 'equal' | ReadonlyMap<string, number> | null
  /** Days after which a row counts half as much as the newest. */
  halfLife?: number | null
}

/** How many rows were found of a kind, the first few of them, and how many were dropped for it. */
export interface Finding {
  found: number
  dropped: number
  examples: string[]
}

export interface Choice {
  /** Positions of the rows that are used, in order. */
  rows: Int32Array
  /** Of each used row. */
  weights: Float32Array
  findings: Record<string, Finding>
}

const examplesKept = 5

/** Chooses among rows: a pure function of table and options. Nothing is dropped that is not counted. */
export function chooseRows(table: RowTable, options: ChoiceOptions): Choice {
  const choosing = new Choosing(table, options)
  choosing.flagged()
  choosing.duplicates()
  choosing.contradictions()
  choosing.shares()
  choosing.onePerPrompt()
  choosing.balance()
  return choosing.choice()
}

class Choosing {
  readonly #table: RowTable
  readonly #options: ChoiceOptions
  readonly #used: Uint8Array
  readonly #weights: Float32Array
  readonly #findings: Record<string, Finding> = {}

  constructor(table: RowTable, options: ChoiceOptions) {
    this.#table = table
    this.#options = options
    this.#used = new Uint8Array(table.length).fill(1)
    this.#weights = Float32Array.from(table.columns.weight, (weight) => (Number.isNaN(weight) ? 1 : weight))
  }

  #finding(name: string): Finding {
    this.#findings[name] ??= { found: 0, dropped: 0, examples: [] }
    return this.#findings[name]
  }

  #find(name: string, row: number, drop: boolean): void {
    const finding = this.#finding(name)
    finding.found++
    if (finding.examples.length < examplesKept) finding.examples.push(originText(originOf(this.#table, row)))
    if (!drop) return
    if (this.#used[row] === 1) finding.dropped++
    this.#used[row] = 0
  }

  #drop(name: string, row: number): void {
    this.#used[row] = 0
    this.#finding(name).dropped++
  }

  /** What a single row's texts show. Counted whether or not it is acted on. */
  flagged(): void {
    const { empty, boilerplate, personal, tooLong } = this.#options
    const kinds = [
      ['empty', flag.empty, empty === 'drop'],
      ['boilerplate', flag.boilerplate, boilerplate === 'drop'],
      ['email', flag.email, personal === 'drop'],
      ['phone', flag.phone, personal === 'drop'],
      ['key', flag.key, personal === 'drop'],
      ['tooLong', flag.promptCut | flag.completionCut, tooLong === 'drop'],
    ] as const
    for (const [name] of kinds) this.#finding(name)
    for (let row = 0; row < this.#table.length; row++) {
      const flags = this.#table.columns.flags[row]!
      if (flags === 0) continue
      for (const [name, bits, drop] of kinds) if (flags & bits) this.#find(name, row, drop)
    }
  }

  duplicates(): void {
    const { duplicates, nearDuplicates: similarity } = this.#options
    const { prompt, completion, label } = this.#table.columns
    const seen = new PairSet(this.#table.length)
    this.#finding('duplicates')
    for (let row = 0; row < this.#table.length; row++) {
      if (this.#used[row] === 0) continue
      if (seen.add(prompt[row]!, completion[row]! * 2 + label[row]!))
        this.#find('duplicates', row, duplicates === 'drop')
    }
    if (!this.#table.signatures) return
    const used = this.#used
    const alike = (row: number, earlier: number) =>
      used[row] === 1 && used[earlier] === 1 && label[row] === label[earlier] // what is dropped stands for nothing
    const first = nearDuplicates(this.#table.signatures, similarity ?? 0.8, alike)
    this.#finding('nearDuplicates')
    for (let row = 0; row < this.#table.length; row++) {
      const original = first[row]!
      const exact = prompt[row] === prompt[original] && completion[row] === completion[original]
      if (original === row || exact) continue
      this.#find('nearDuplicates', row, similarity !== null && similarity !== undefined)
    }
  }

  /** The same completion of the same prompt, up here and down there. */
  contradictions(): void {
    const action = this.#options.contradictions ?? 'keep'
    const finding = this.#finding('contradictions')
    for (const rows of this.#contradicting()) {
      const up = rows.filter((row) => this.#table.columns.label[row] === 1).length
      const down = rows.length - up
      for (const row of rows) {
        const agreeing = this.#table.columns.label[row] === 1 ? up : down
        const lost = action === 'drop' || (action === 'majority' && agreeing * 2 <= rows.length)
        this.#find('contradictions', row, lost)
        if (action === 'weight') this.#weights[row]! *= agreeing / rows.length
      }
    }
    if (finding.found === 0) finding.examples = []
  }

  #contradicting(): number[][] {
    const { prompt, completion, label } = this.#table.columns
    const seen = new PairSet(this.#table.length)
    const contradicted = new Set<string>()
    for (let row = 0; row < this.#table.length; row++) {
      if (this.#used[row] === 0) continue
      seen.add(prompt[row]!, completion[row]! * 2 + label[row]!)
      if (seen.has(prompt[row]!, completion[row]! * 2 + (1 - label[row]!)))
        contradicted.add(`${prompt[row]}:${completion[row]}`)
    }
    if (contradicted.size === 0) return []
    const groups = new Map<string, number[]>()
    for (let row = 0; row < this.#table.length; row++) {
      const key = `${prompt[row]}:${completion[row]}`
      if (this.#used[row] === 0 || !contradicted.has(key)) continue
      const group = groups.get(key)
      if (group) group.push(row)
      else groups.set(key, [row])
    }
    return [...groups.values()]
  }

  #usedRows(label?: number): number[] {
    const rows: number[] = []
    for (let row = 0; row < this.#table.length; row++)
      if (this.#used[row] === 1 && (label === undefined || this.#table.columns.label[row] === label)) rows.push(row)
    return rows
  }

  shares(): void {
    const { keepDesirable = 1, keepUndesirable = 1 } = this.#options
    this.#keepShare('keepDesirable', 1, keepDesirable)
    this.#keepShare('keepUndesirable', 0, keepUndesirable)
  }

  #keepShare(name: string, label: number, share: number): void {
    if (share >= 1) return
    const rows = this.#usedRows(label)
    this.#thin(name, rows, Math.round(rows.length * share))
  }

  #thin(name: string, rows: readonly number[], keep: number): void {
    this.#finding(name)
    const order = new Random(name, this.#options.seed).permutation(rows.length)
    for (const position of order.subarray(keep)) this.#drop(name, rows[position]!)
  }

  onePerPrompt(): void {
    if (!this.#options.onePerPrompt) return
    this.#finding('onePerPrompt')
    const rows = this.#usedRows()
    const taken = new Set<number>()
    for (const position of new Random('onePerPrompt', this.#options.seed).permutation(rows.length)) {
      const row = rows[position]!
      const prompt = this.#table.columns.prompt[row]!
      if (taken.has(prompt)) this.#drop('onePerPrompt', row)
      else taken.add(prompt)
    }
  }

  balance(): void {
    const { balance = 'none' } = this.#options
    this.#annotators()
    this.#age()
    if (balance === 'none') return
    const [down, up] = [this.#usedRows(0), this.#usedRows(1)]
    if (down.length === 0 || up.length === 0) return
    if (balance === 'drop') {
      const [larger, smaller] = down.length > up.length ? [down, up] : [up, down]
      this.#thin('balance', larger, smaller.length)
      return
    }
    const sum = (rows: readonly number[]) => rows.reduce((total, row) => total + this.#weights[row]!, 0)
    const [downSum, upSum] = [sum(down), sum(up)]
    const [rows, factor] = downSum > upSum ? [down, upSum / downSum] : [up, downSum / upSum]
    for (const row of rows) this.#weights[row]! *= factor
  }

  #annotators(): void {
    const { annotatorWeights } = this.#options
    if (!annotatorWeights) return
    const { annotator } = this.#table.columns
    const rows = this.#usedRows()
    const missing = rows.find((row) => annotator[row]! < 0)
    if (missing !== undefined)
      throw new Error(
        `${originText(originOf(this.#table, missing))}: no annotator, and --annotator-weights is set; name the column with --map annotator=<column>`,
      )
    if (annotatorWeights === 'equal') {
      const counts = new Map<number, number>()
      for (const row of rows) counts.set(annotator[row]!, (counts.get(annotator[row]!) ?? 0) + 1)
      for (const row of rows) this.#weights[row]! *= rows.length / (counts.size * counts.get(annotator[row]!)!)
      return
    }
    const unknown = [...annotatorWeights.keys()].find((name) => !this.#table.annotators.includes(name))
    if (unknown !== undefined)
      throw new Error(
        `--annotator-weights: no row is by ${JSON.stringify(unknown)}; there are ${this.#table.annotators.slice(0, 10).join(', ')}`,
      )
    for (const row of rows) this.#weights[row]! *= annotatorWeights.get(this.#table.annotators[annotator[row]!]!) ?? 1
  }

  /** A row that is one half-life older than the newest counts half. */
  #age(): void {
    const { halfLife } = this.#options
    if (halfLife === null || halfLife === undefined) return
    const { time } = this.#table.columns
    const rows = this.#usedRows()
    const missing = rows.find((row) => Number.isNaN(time[row]!))
    if (missing !== undefined)
      throw new Error(
        `${originText(originOf(this.#table, missing))}: no time, and --half-life is set; name the column with --map time=<column>`,
      )
    const newest = rows.reduce((latest, row) => Math.max(latest, time[row]!), Number.NEGATIVE_INFINITY)
    for (const row of rows) this.#weights[row]! *= 2 ** ((time[row]! - newest) / (halfLife * 86_400_000))
  }

  choice(): Choice {
    const rows = Int32Array.from(this.#usedRows())
    return { rows, weights: Float32Array.from(rows, (row) => this.#weights[row]!), findings: this.#findings }
  }
}

/** A set of pairs of numbers without an object for each. */
class PairSet {
  readonly #first: Int32Array
  readonly #second: Int32Array

  constructor(capacity: number) {
    let size = 16
    while (size < capacity * 2) size *= 2
    this.#first = new Int32Array(size).fill(-1)
    this.#second = new Int32Array(size)
  }

  #slot(first: number, second: number): number {
    const mask = this.#first.length - 1
    let slot = (Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b)) & mask
    while (this.#first[slot] !== -1 && (this.#first[slot] !== first || this.#second[slot] !== second))
      slot = (slot + 1) & mask
    return slot
  }

  /** Whether the pair was there before. */
  add(first: number, second: number): boolean {
    const slot = this.#slot(first, second)
    if (this.#first[slot] !== -1) return true
    this.#first[slot] = first
    this.#second[slot] = second
    return false
  }

  has(first: number, second: number): boolean {
    return this.#first[this.#slot(first, second)] !== -1
  }
}
