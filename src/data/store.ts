import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeAll, writeFileAtomic } from '../tensor/atomic.ts'
import { mapBytes } from '../tensor/mapping.ts'
import { Column, type ColumnArray, type ColumnType, columnTypes, HashNumbering } from './columns.ts'
import { originOf, type RowColumns, type RowTable, RowTableBuilder } from './table.ts'
import type { Example, FeedbackRow, Origin } from './types.ts'

/** Where a row's token ids are in the file of tokens, and which rows have the same. */
interface TokenColumns {
  promptAt: Float64Array
  promptTokens: Uint32Array
  completionAt: Float64Array
  completionTokens: Uint32Array
  promptGroup: Int32Array
  completionGroup: Int32Array
}

interface Index {
  rows: number
  columns: { name: string; type: ColumnType; offset: number; length: number }[]
  files: RowTable['files']
  annotators: readonly string[]
  groups: readonly string[]
  facts: unknown
}

const tokensFile = 'tokens.bin'
const columnsFile = 'columns.bin'
const indexFile = 'index.json'
const flushAt = 1 << 20

/** Writes tokenised rows to a folder as they come. A prompt that several rows share is stored once. */
export class StoreWriter {
  readonly #folder: string
  readonly #file: number
  readonly #rows: RowTableBuilder
  readonly #promptGroups = new HashNumbering()
  readonly #completionGroups = new HashNumbering()
  readonly #promptStarts = new Column('f64')
  readonly #completionStarts = new Column('f64')
  readonly #columns = {
    promptAt: new Column('f64'),
    promptTokens: new Column('u32'),
    completionAt: new Column('f64'),
    completionTokens: new Column('u32'),
    promptGroup: new Column('i32'),
    completionGroup: new Column('i32'),
  }
  readonly #waiting = new Column('i32')
  #written = 0

  constructor(folder: string, options: { signatures?: boolean } = {}) {
    this.#folder = folder
    this.#file = openSync(join(folder, tokensFile), 'w')
    this.#rows = new RowTableBuilder(options)
  }

  add(row: FeedbackRow, prompt: Int32Array, completion: Int32Array, flags: number): void {
    this.#rows.add(row, flags)
    const [promptGroup, promptAt] = this.#place(prompt, this.#promptGroups, this.#promptStarts)
    const [completionGroup, completionAt] = this.#place(completion, this.#completionGroups, this.#completionStarts)
    this.#columns.promptAt.push(promptAt)
    this.#columns.promptTokens.push(prompt.length)
    this.#columns.completionAt.push(completionAt)
    this.#columns.completionTokens.push(completion.length)
    this.#columns.promptGroup.push(promptGroup)
    this.#columns.completionGroup.push(completionGroup)
  }

  /** The number of a text of ids among distinct ones, and where it is stored. */
  #place(ids: Int32Array, groups: HashNumbering, starts: Column<'f64'>): [number, number] {
    const group = groups.of(createHash('sha256').update(ids).digest())
    if (group === starts.length) {
      starts.push(this.#written + this.#waiting.length)
      this.#waiting.pushAll(ids)
      if (this.#waiting.length >= flushAt) this.#flush()
    }
    return [group, starts.values()[group]!]
  }

  #flush(): void {
    const ids = this.#waiting.values()
    writeAll(this.#file, new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength))
    this.#written += ids.length
    this.#waiting.length = 0
  }

  /** Closes the files. What is read later of the folder is complete only after this. */
  finish(facts: unknown): void {
    if (this.#written + this.#waiting.length === 0) this.#waiting.push(0) // an empty file cannot be mapped
    this.#flush()
    this.close()
    const table = this.#rows.table()
    const columns: [string, ColumnArray][] = [
      ...Object.entries(table.columns),
      ...Object.entries(this.#columns).map(([name, column]) => [name, column.values()] as [string, ColumnArray]),
      ...(table.signatures ? [['signatures', table.signatures] as [string, ColumnArray]] : []),
    ]
    const { files, annotators, groups } = table
    const layout = writeColumns(join(this.#folder, columnsFile), columns)
    const index: Index = { rows: table.length, columns: layout, files, annotators, groups, facts }
    writeFileAtomic(join(this.#folder, indexFile), JSON.stringify(index))
  }

  #closed = false
  close(): void {
    if (!this.#closed) closeSync(this.#file)
    this.#closed = true
  }
}

function typeOf(array: ColumnArray): ColumnType {
  return (Object.keys(columnTypes) as ColumnType[]).find((type) => array instanceof columnTypes[type])!
}

/** Columns one after the other, each at a multiple of 8 bytes. */
function writeColumns(path: string, columns: readonly [string, ColumnArray][]): Index['columns'] {
  const file = openSync(path, 'w')
  let offset = 0
  try {
    return columns.map(([name, array]) => {
      const entry = { name, type: typeOf(array), offset, length: array.length }
      const padding = (8 - (array.byteLength % 8)) % 8
      writeAll(file, new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
      writeAll(file, new Uint8Array(padding))
      offset += array.byteLength + padding
      return entry
    })
  } finally {
    closeSync(file)
  }
}

/** Tokenised rows in a folder, mapped into memory: opening takes no time and no memory, however many there are. */
export class TokenStore {
  readonly table: RowTable
  readonly facts: unknown
  readonly #tokens: Int32Array
  readonly #columns: TokenColumns

  constructor(folder: string) {
    const index = JSON.parse(readFileSync(join(folder, indexFile), 'utf8')) as Index
    const { rows, files, annotators, groups } = index
    const bytes = rows === 0 ? new ArrayBuffer(0) : mapBytes(join(folder, columnsFile))
    const columns = Object.fromEntries(
      index.columns.map(({ name, type, offset, length }) => [name, new columnTypes[type](bytes, offset, length)]),
    )
    this.facts = index.facts
    this.#columns = columns as unknown as TokenColumns
    this.#tokens = new Int32Array(mapBytes(join(folder, tokensFile)))
    const signatures = (columns.signatures as Uint8Array | undefined) ?? null
    this.table = { length: rows, columns: columns as unknown as RowColumns, files, annotators, groups, signatures }
  }

  get length(): number {
    return this.table.length
  }
  prompt(row: number): Int32Array {
    const start = this.#columns.promptAt[row]!
    return this.#tokens.subarray(start, start + this.#columns.promptTokens[row]!)
  }
  completion(row: number): Int32Array {
    const start = this.#columns.completionAt[row]!
    return this.#tokens.subarray(start, start + this.#columns.completionTokens[row]!)
  }
  get promptGroups(): Int32Array {
    return this.#columns.promptGroup
  }
  get completionGroups(): Int32Array {
    return this.#columns.completionGroup
  }
  get promptTokens(): Uint32Array {
    return this.#columns.promptTokens
  }
  get completionTokens(): Uint32Array {
    return this.#columns.completionTokens
  }

  /** The example of a row: a view, whose tokens are read where they are looked at. */
  example(row: number, index: number, weight = 1): Example {
    return new StoredExample(this, row, index, weight)
  }
}

class StoredExample implements Example {
  readonly index: number
  readonly weight: number
  readonly #store: TokenStore
  readonly #row: number

  constructor(store: TokenStore, row: number, index: number, weight: number) {
    this.#store = store
    this.#row = row
    this.index = index
    this.weight = weight
  }

  get prompt(): Int32Array {
    return this.#store.prompt(this.#row)
  }
  get completion(): Int32Array {
    return this.#store.completion(this.#row)
  }
  get promptGroup(): number {
    return this.#store.promptGroups[this.#row]!
  }
  get completionGroup(): number {
    return this.#store.completionGroups[this.#row]!
  }
  get desirable(): boolean {
    return this.#store.table.columns.label[this.#row] === 1
  }
  get pair(): number | undefined {
    const pair = this.#store.table.columns.pair[this.#row]!
    return pair < 0 ? undefined : pair
  }
  get origin(): Origin {
    return originOf(this.#store.table, this.#row)
  }
}
