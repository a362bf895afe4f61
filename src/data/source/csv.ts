import { Readable } from 'node:stream'
import { CsvError, type Parser, parse } from 'csv-parse'
import type { Origin } from '../types.ts'
import { unpackedBytes } from './bytes.ts'
import type { Counter, RawRecord } from './records.ts'

const batchSize = 512

/**
 * The rows of a CSV or TSV file. Every cell is a text as it stands there, an empty cell the empty text: what is a label, a number or a list is
 * decided where it is read. A row with too few or too many cells is reported and the next one is read; after a quote that is never closed no
 * more rows can be told apart, and that is reported too. A row's origin is the line it begins on.
 */
export async function* csvRows(file: string, counter?: Counter): AsyncGenerator<RawRecord[]> {
  const problems: RawRecord[] = []
  const lines = new Lines(file)
  const parser = rowParser(await separatorOf(file), lines, problems)
  const bytes = Readable.from(unpackedBytes(file, counter))
  bytes.on('error', (error) => parser.destroy(error))
  bytes.pipe(parser)
  let batch: RawRecord[] = []
  try {
    for await (const record of parser as Parser & AsyncIterable<RawRecord>) {
      if (batch.push(record) < batchSize) continue
      yield batch
      batch = []
    }
  } catch (error) {
    const { message } = error as Error
    if (!(error instanceof CsvError)) throw message.startsWith(file) ? error : new Error(`${file}: ${message}`)
    problems.push(problemOf(error, lines.next()))
  }
  if (batch.length + problems.length > 0) yield [...batch, ...problems]
}

/** Which lines rows are on: the parser runs ahead of who reads its rows. */
class Lines {
  readonly #file: string
  /** The first that no row has used. */
  #line = 1

  constructor(file: string) {
    this.#file = file
  }

  next(): Origin {
    return { file: this.#file, line: this.#line }
  }

  /** Where a row begins that ends on this line. */
  rowUpTo(end: number): Origin {
    const origin = this.next()
    this.#line = Math.max(this.#line, end) + 1
    return origin
  }

  afterHeader(): void {
    this.#line = 2
  }
}

function rowParser(delimiter: string, lines: Lines, problems: RawRecord[]): Parser {
  return parse({
    bom: true,
    delimiter,
    record_delimiter: ['\r\n', '\n', '\r'],
    columns: (names: string[]) => {
      const twice = names.find((name, i) => names.indexOf(name) !== i)
      if (twice !== undefined) throw new Error(`two columns are called ${JSON.stringify(twice)}`)
      lines.afterHeader()
      return names.map((name) => name.trim())
    },
    skip_empty_lines: true,
    skip_records_with_error: true,
    info: true,
    on_record: ({ record, info }: { record: unknown; info: { lines: number } }): RawRecord => ({
      origin: lines.rowUpTo(info.lines),
      text: JSON.stringify(record),
    }),
    on_skip: (error) => {
      const { lines: end = 0 } = (error ?? {}) as { lines?: number }
      problems.push(problemOf(error, lines.rowUpTo(Number(end))))
      return undefined
    },
  })
}

function problemOf(error: CsvError | undefined, origin: Origin): RawRecord {
  const problem = `not a row of this table: ${error?.message ?? 'unreadable'}; quote texts that hold commas or quotes`
  return { origin, problem }
}

/** Tab for .tsv; else of comma, tab, semicolon and bar the one that the first line has most of. */
async function separatorOf(file: string): Promise<string> {
  if (/\.tsv(\.|$)/i.test(file)) return '\t'
  let text = ''
  for await (const chunk of unpackedBytes(file)) {
    text += chunk.toString('utf8')
    if (/[\r\n]/.test(text.replace(/"(?:[^"]|"")*"/g, ''))) break
  }
  const [header = ''] = text.replace(/"(?:[^"]|"")*"/g, '').split(/[\r\n]/)
  const count = (separator: string) => header.split(separator).length
  return [',', '\t', ';', '|'].reduce((best, separator) => (count(separator) > count(best) ? separator : best))
}
