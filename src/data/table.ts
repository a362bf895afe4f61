import { createHash } from 'node:crypto'
import { Column, HashNumbering, Names } from './columns.ts'
import { signatureOf } from './near.ts'
import { isBoilerplate, personalIn } from './personal.ts'
import type { FeedbackRow, Message, Origin } from './types.ts'

/** What is noted of a row's texts, a bit each. */
export const flag = {
  empty: 1,
  boilerplate: 2,
  email: 4,
  phone: 8,
  key: 16,
  promptCut: 32,
  completionCut: 64,
} as const

/** Of every row what choosing among rows needs, in columns: a hundred bytes a row, its texts excluded. */
export interface RowColumns {
  label: Uint8Array
  flags: Uint8Array
  /** NaN where the row has none. */
  weight: Float32Array
  time: Float64Array
  /** -1 where the row has none. */
  pair: Int32Array
  annotator: Int32Array
  group: Int32Array
  /** Rows with equal texts, and only those, share these numbers. */
  prompt: Int32Array
  completion: Int32Array
  /** Characters of the texts. */
  promptLength: Uint32Array
  completionLength: Uint32Array
  file: Uint16Array
  line: Uint32Array
}

/** The columns with what their numbers stand for. */
export interface RowTable {
  readonly length: number
  readonly columns: RowColumns
  readonly files: readonly { file: string; unit?: 'row' }[]
  readonly annotators: readonly string[]
  readonly groups: readonly string[]
  /** MinHash signatures of all rows, where they were asked for. */
  readonly signatures: Uint8Array | null
}

export function originOf({ columns, files }: RowTable, row: number): Origin {
  return { ...files[columns.file[row]!]!, line: columns.line[row]! }
}

const types = {
  label: 'u8',
  flags: 'u8',
  weight: 'f32',
  time: 'f64',
  pair: 'i32',
  annotator: 'i32',
  group: 'i32',
  prompt: 'i32',
  completion: 'i32',
  promptLength: 'u32',
  completionLength: 'u32',
  file: 'u16',
  line: 'u32',
} as const

/** Collects the columns row by row. */
export class RowTableBuilder {
  readonly #columns = Object.fromEntries(Object.entries(types).map(([name, type]) => [name, new Column(type)])) as {
    [name in keyof typeof types]: Column<(typeof types)[name]>
  }
  readonly #signatures: Column<'u8'> | null
  readonly #prompts = new HashNumbering()
  readonly #completions = new HashNumbering()
  readonly #files = new Names()
  readonly #units: ('row' | undefined)[] = []
  readonly #annotators = new Names()
  readonly #groups = new Names()

  constructor({ signatures = false }: { signatures?: boolean } = {}) {
    this.#signatures = signatures ? new Column('u8') : null
  }

  /** `more` holds flags that are not seen in the texts: what was cut. */
  add(row: FeedbackRow, more = 0): void {
    const [prompt, completion] = [plainText(row.prompt), plainText(row.completion)]
    const { origin } = row
    const columns = this.#columns
    columns.label.push(Number(row.label))
    columns.flags.push(flagsOf(prompt, completion) | more)
    columns.weight.push(row.weight ?? Number.NaN)
    columns.time.push(row.time ?? Number.NaN)
    columns.pair.push(row.pair ?? -1)
    columns.annotator.push(row.annotator === undefined ? -1 : this.#annotators.of(row.annotator))
    columns.group.push(row.group === undefined ? -1 : this.#groups.of(row.group))
    columns.prompt.push(this.#prompts.of(textHash(row.prompt)))
    columns.completion.push(this.#completions.of(textHash(row.completion)))
    columns.promptLength.push(prompt.length)
    columns.completionLength.push(completion.length)
    const file = this.#files.of(origin.file)
    this.#units[file] = origin.unit
    columns.file.push(file)
    columns.line.push(origin.line)
    this.#signatures?.pushAll(signatureOf(`${prompt}\n${completion}`))
  }

  get length(): number {
    return this.#columns.label.length
  }

  table(): RowTable {
    const columns = Object.fromEntries(Object.entries(this.#columns).map(([name, column]) => [name, column.values()]))
    return {
      length: this.length,
      columns: columns as unknown as RowColumns,
      files: this.#files.texts.map((file, i) => (this.#units[i] ? { file, unit: 'row' as const } : { file })),
      annotators: this.#annotators.texts,
      groups: this.#groups.texts,
      signatures: this.#signatures?.values() ?? null,
    }
  }
}

function textHash(text: string | readonly Message[]): Buffer {
  return createHash('sha256')
    .update(typeof text === 'string' ? text : JSON.stringify(text))
    .digest()
}

/** All that is said in a text or in messages. */
export function plainText(text: string | readonly Message[]): string {
  if (typeof text === 'string') return text
  const [only] = text
  if (text.length === 1) return only!.content ?? ''
  return text.map(({ content }) => content ?? '').join('\n')
}

function flagsOf(prompt: string, completion: string): number {
  const personal = personalIn(`${prompt}\n${completion}`)
  let flags = completion.trim() === '' ? flag.empty : 0
  if (isBoilerplate(completion)) flags |= flag.boilerplate
  for (const kind of personal) flags |= flag[kind]
  return flags
}
