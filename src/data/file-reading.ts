import { LabelError } from './labels.ts'
import { DataError } from './origin.ts'
import type { ReadOptions } from './read.ts'
import { expanded, mapped, parsed } from './record-fields.ts'
import { fieldsOf, shapeOf, shapes } from './shapes/index.ts'
import type { Fields, Found, Shape, ShapeContext, ShapeReader } from './shapes/shape.ts'
import type { RawRecord } from './source/records.ts'
import type { FeedbackRow, Origin } from './types.ts'
import { UnknownLabels } from './unknown-labels.ts'

/** What was read of one file. Every record is in `used`, in `leftOut`, or in `skipped`. */
export interface FileFacts {
  file: string
  /** Of the file's bytes. */
  sha256: string
  records: number
  /** Records that gave rows. */
  used: number
  rows: number
  desirable: number
  undesirable: number
  /** Comparisons, each of which gave two rows. */
  pairs: number
  /** Records by their shape. */
  shapes: Record<string, number>
  /** Records that gave no rows for a reason that is no fault, and how many. */
  leftOut: Record<string, number>
  /** Records of which a part was left out. */
  partlyLeftOut: Record<string, number>
  /** Records that an option passed over, not counted in `records`, by the option: `--where`, `--sample`. */
  passedOver: Record<string, number>
  skipped: number
  /** The first few reasons. */
  skippedBecause: string[]
}

const reasonsKept = 10

export function emptyFacts(file: string, sha256: string): FileFacts {
  const counts = { records: 0, used: 0, rows: 0, desirable: 0, undesirable: 0, pairs: 0 }
  return {
    file,
    sha256,
    ...counts,
    shapes: {},
    leftOut: {},
    partlyLeftOut: {},
    passedOver: {},
    skipped: 0,
    skippedBecause: [],
  }
}

/** One file being read. */
export class FileReading {
  readonly #facts: FileFacts
  readonly #options: ReadOptions
  readonly #context: ShapeContext
  readonly #readers = new Map<Shape, ShapeReader>()
  /** Set at the first label that is none: from there on only the values of labels are gathered. */
  #unknownLabels: UnknownLabels | null = null
  #lastPair = -1
  #last: Origin | null = null

  constructor(facts: FileFacts, options: ReadOptions, context: ShapeContext) {
    this.#facts = facts
    this.#options = options
    this.#context = context
  }

  read(records: readonly RawRecord[]): FeedbackRow[] {
    return records.flatMap((record) => this.#readOne(record))
  }

  #readOne(record: RawRecord): FeedbackRow[] {
    const { origin } = record
    this.#last = origin
    try {
      if ('problem' in record) throw new Error(record.problem)
      const values = expanded(parsed(record.text), origin)
      if (values.length === 1) return this.#one(values[0], origin)
      return values.flatMap((value) => {
        try {
          return this.#one(value, origin)
        } catch (error) {
          return this.#fault(origin, error as Error)
        }
      })
    } catch (error) {
      return this.#fault(origin, error as Error)
    }
  }

  #one(value: unknown, origin: Origin): FeedbackRow[] {
    const fields = mapped(fieldsOf(value), this.#options.map)
    const shape = this.#shapeFor(fields)
    const found = this.#readerOf(shape).read(fields)
    this.#facts.records++
    this.#facts.shapes[shape.name] = (this.#facts.shapes[shape.name] ?? 0) + 1
    return this.#rows(found, origin)
  }

  #rows({ rows, leftOut }: Found, origin: Origin): FeedbackRow[] {
    const facts = this.#facts
    if (rows.length > 0) facts.used++
    if (leftOut !== undefined) {
      const where = rows.length > 0 ? facts.partlyLeftOut : facts.leftOut
      where[leftOut] = (where[leftOut] ?? 0) + 1
    }
    return rows.map((row) => this.#counted(row, origin))
  }

  #counted(row: Found['rows'][number], origin: Origin): FeedbackRow {
    const facts = this.#facts
    facts.rows++
    facts[row.label ? 'desirable' : 'undesirable']++
    if (row.pair !== undefined && row.pair !== this.#lastPair) {
      this.#lastPair = row.pair
      facts.pairs++
    }
    return { ...row, origin }
  }

  #shapeFor(fields: Fields): Shape {
    const { shape } = this.#options
    return shape === undefined ? shapeOf(fields) : shapes.find(({ name }) => name === shape)!
  }

  #readerOf(shape: Shape): ShapeReader {
    const known = this.#readers.get(shape)
    if (known) return known
    const reader = shape.reader(this.#context)
    this.#readers.set(shape, reader)
    return reader
  }

  #fault(origin: Origin, error: Error): FeedbackRow[] {
    if (error instanceof LabelError && error.fatal) throw new DataError(origin, error.message)
    if (this.#options.onBadRow === 'error') {
      if (!(error instanceof LabelError)) {
        if (this.#unknownLabels) return []
        throw new DataError(origin, error.message)
      }
      this.#unknownLabels ??= new UnknownLabels(origin, error)
      this.#unknownLabels.add(error.value)
      if (this.#unknownLabels.seen > 200_000) throw this.#unknownLabels.error()
      return []
    }
    const facts = this.#facts
    facts.records++
    facts.skipped++
    if (facts.skippedBecause.length < reasonsKept)
      facts.skippedBecause.push(new DataError(origin, error.message).message)
    return []
  }

  /** Rows that a shape held back. Throws where labels were found that say neither up nor down. */
  end(): FeedbackRow[] {
    if (this.#unknownLabels) throw this.#unknownLabels.error()
    const held = [...this.#readers.values()].flatMap((reader) => reader.end?.() ?? [])
    return held.flatMap((found) => found.rows.map((row) => this.#counted(row, this.#last!)))
  }
}
