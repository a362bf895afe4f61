import { Random } from '../random.ts'
import type { Origin } from '../types.ts'
import { csvRows } from './csv.ts'
import { type FileKind, kindOf } from './files.ts'
import { parquetRows } from './tables.ts'
import { jsonLines, jsonValues } from './text.ts'
import { type Kept, recordsWhere } from './where.ts'

/** One record of a file: its JSON text, or why it has none. */
export type RawRecord = { origin: Origin; text: string } | { origin: Origin; problem: string }

export interface RecordOptions {
  /** SQL condition over the file's columns. */
  where?: string
  /** A share of the records (below 1), or so many of them. */
  sample?: number
  /** Records to read, after the others are chosen. */
  limit?: number
  seed?: number
}

/** How much of the files was read: the bytes as they lie on the disk. */
export interface Counter {
  bytes: number
}

const readers: Record<FileKind, (file: string, counter?: Counter) => AsyncGenerator<RawRecord[]>> = {
  jsonl: jsonLines,
  json: jsonValues,
  csv: csvRows,
  parquet: parquetRows,
}

/** Records that a file's reader gives. */
export function rawRecords(file: string, counter?: Counter): AsyncGenerator<RawRecord[]> {
  return readers[kindOf(file)](file, counter)
}

/** Chooses among the records of several files, and counts what it passes over. */
export class RecordReader {
  readonly #options: RecordOptions
  readonly #files: readonly string[]
  readonly counter: Counter = { bytes: 0 }
  #passedOver: Record<string, number> = {}
  #position = 0
  #taken = 0
  #wanted: Set<number> | null = null

  constructor(files: readonly string[], options: RecordOptions = {}) {
    this.#files = files
    this.#options = options
  }

  /** Where a number of records is to be sampled: counts them first. Call before `of`. */
  async prepare(): Promise<void> {
    const { sample, seed = 0 } = this.#options
    if (sample === undefined || sample < 1) return
    let total = 0
    for (const file of this.#files) {
      const kept = await this.#kept(file)
      let position = 0
      for await (const batch of rawRecords(file)) for (const _ of batch) if (!kept || kept.has(position++)) total++
    }
    if (sample >= total) return
    this.#wanted = new Set(new Random('sample', seed).permutation(total).subarray(0, sample))
  }

  async *of(file: string): AsyncGenerator<RawRecord[]> {
    const kept = await this.#kept(file)
    let position = 0
    for await (const batch of rawRecords(file, this.counter)) {
      const chosen = batch.filter((record) => {
        const here = position++
        if (kept && 'problem' in record) return true // reported, not filtered away
        return this.#choose(kept, here)
      })
      if (chosen.length > 0) yield chosen
      if (this.#taken >= (this.#options.limit ?? Number.POSITIVE_INFINITY)) return
    }
    if (kept && kept.records > position)
      throw new Error(
        `${file}: --where sees ${kept.records} records where the file has ${position}: it cannot filter this file; convert it with: prospect data convert`,
      )
  }

  #choose(kept: Kept | null, here: number): boolean {
    const { sample, limit, seed = 0 } = this.#options
    if (kept && !kept.has(here)) return this.#pass('--where')
    const position = this.#position++
    if (this.#wanted && !this.#wanted.has(position)) return this.#pass('--sample')
    if (sample !== undefined && sample < 1 && new Random('sample', seed, position).share() >= sample)
      return this.#pass('--sample')
    if (limit !== undefined && this.#taken >= limit) return false
    this.#taken++
    return true
  }

  #pass(option: string): false {
    this.#passedOver[option] = (this.#passedOver[option] ?? 0) + 1
    return false
  }

  /** Records passed over since the last call, by the option that did it; of those before `limit` was reached. */
  takePassedOver(): Record<string, number> {
    const taken = this.#passedOver
    this.#passedOver = {}
    return taken
  }

  async #kept(file: string): Promise<Kept | null> {
    const { where } = this.#options
    return where === undefined ? null : recordsWhere(file, kindOf(file), where)
  }
}
