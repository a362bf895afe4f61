import { unpackedBytes } from './bytes.ts'
import type { Counter, RawRecord } from './records.ts'

const decoder = new TextDecoder('utf-8', { fatal: true }) // drops a byte order mark
const batchSize = 512

/** The texts of a JSONL file, a line each; blank lines are passed over. Only line feeds end a line: JSON may hold Unicode's other separators. */
export async function* jsonLines(file: string, counter?: Counter): AsyncGenerator<RawRecord[]> {
  let batch: RawRecord[] = []
  for await (const { bytes, line } of linesOf(file, counter)) {
    const record = lineRecord(bytes, file, line)
    if (record !== null) batch.push(record)
    if (batch.length < batchSize) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

function lineRecord(bytes: Buffer, file: string, line: number): RawRecord | null {
  const origin = { file, line }
  try {
    const text = decoder.decode(bytes).trim()
    return text === '' ? null : { origin, text }
  } catch {
    return { origin, problem: notUtf8 }
  }
}

const notUtf8 = 'not UTF-8; convert the file, for example with: iconv -f latin1 -t utf-8'

async function* linesOf(file: string, counter?: Counter): AsyncGenerator<{ bytes: Buffer; line: number }> {
  let rest: Buffer[] = [] // the parts of a line that no chunk holds whole
  let line = 1
  for await (const chunk of unpackedBytes(file, counter)) {
    let start = 0
    for (let feed = chunk.indexOf(10); feed >= 0; feed = chunk.indexOf(10, start)) {
      const end = chunk.subarray(start, feed)
      yield { bytes: rest.length > 0 ? Buffer.concat([...rest, end]) : end, line: line++ }
      rest = []
      start = feed + 1
    }
    if (start < chunk.length) rest.push(chunk.subarray(start))
  }
  if (rest.length > 0) yield { bytes: Buffer.concat(rest), line }
}

/**
 * The texts of the records of a .json file: the elements of a list, or objects one after the other, on one line or many. A record's origin is
 * the line it begins on. Memory holds one record at a time, however long the list.
 */
export async function* jsonValues(file: string, counter?: Counter): AsyncGenerator<RawRecord[]> {
  const splitter = new Splitter(file)
  for await (const chunk of unpackedBytes(file, counter)) {
    splitter.add(chunk)
    if (splitter.found.length >= batchSize) yield splitter.taken()
  }
  splitter.end()
  if (splitter.found.length > 0) yield splitter.taken()
}

const [quote, backslash, feed, comma, open, shut, openList, shutList] = [34, 92, 10, 44, 123, 125, 91, 93] as const

/** Finds where records begin and end by quotes and brackets alone; whether a record is JSON is for its parser to say. */
class Splitter {
  found: RawRecord[] = []
  readonly #file: string
  #line = 1
  #depth = 0
  #inText = false
  #escaped = false
  /** Whether the file is one list, whose elements are the records. */
  #list: boolean | null = null
  #parts: Buffer[] = []
  #startLine = 1

  constructor(file: string) {
    this.#file = file
  }

  add(chunk: Buffer): void {
    let start = this.#parts.length > 0 ? 0 : -1 // of the record under way, in this chunk
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!
      if (byte === feed) this.#line++
      if (this.#inText) {
        if (this.#escaped) this.#escaped = false
        else if (byte === backslash) this.#escaped = true
        else if (byte === quote) this.#inText = false
        continue
      }
      if (byte <= 32 || byte === 0xef || byte === 0xbb || byte === 0xbf) {
        if (start < 0) continue // between records: spaces, or a byte order mark
        if (this.#depth > this.#base) continue
      }
      if (byte === openList && this.#list === null) {
        this.#list = true
        this.#depth = 1
        continue
      }
      this.#list ??= false
      const outside = this.#depth === this.#base
      if (outside && (byte === comma || (byte === shutList && this.#list))) {
        start = this.#close(chunk, start, i)
        if (byte === shutList) this.#depth--
        continue
      }
      if (start < 0) {
        start = i
        this.#startLine = this.#line
      }
      if (byte === quote) this.#inText = true
      else if (byte === open || byte === openList) this.#depth++
      else if (byte === shut || byte === shutList) {
        this.#depth--
        if (this.#depth <= this.#base) start = this.#close(chunk, start, i + 1)
      }
    }
    if (start >= 0) this.#parts.push(Buffer.from(chunk.subarray(start)))
  }

  get #base(): number {
    return this.#list ? 1 : 0
  }

  #close(chunk: Buffer, start: number, end: number): number {
    if (start >= 0) this.#parts.push(chunk.subarray(start, end))
    if (this.#parts.length === 0) return -1
    const bytes = Buffer.concat(this.#parts)
    this.#parts = []
    this.#depth = Math.max(this.#depth, this.#base)
    const origin = { file: this.#file, line: this.#startLine }
    try {
      const text = decoder.decode(bytes).trim()
      if (text !== '') this.found.push({ origin, text })
    } catch {
      this.found.push({ origin, problem: notUtf8 })
    }
    return -1
  }

  end(): void {
    this.#close(Buffer.alloc(0), -1, 0) // what is left is half a record: its parser will say so
  }

  taken(): RawRecord[] {
    const found = this.found
    this.found = []
    return found
  }
}
