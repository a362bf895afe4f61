import { Readable } from 'node:stream'
import { CsvError, type Parser, parse } from 'csv-parse'
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
  let line = 1 // the first that no row has used; the parser runs ahead of who reads its rows
  const begin = (end: number): { file: string; line: number } => {
    const origin = { file, line }
    line = Math.max(line, end) + 1
    return origin
  }
  const parser = parse({
    bom: true,
    delimiter: await separatorOf(file),
    record_delimiter: ['\r\n', '\n', '\r'],
    columns: (names: string[]) => {
      const twice = names.find((name, i) => names.indexOf(name) !== i)
      if (twice !== undefined) throw new Error(`two columns are called ${JSON.stringify(twice)}`)
      line = 2
      return names.map((name) => name.trim())
    },
    skip_empty_lines: true,
    skip_records_with_error: true,
    info: true,
    on_record: ({ record, info }: { record: unknown; info: { lines: number } }): RawRecord => ({
      origin: begin(info.lines),
      text: JSON.stringify(record),
    }),
    on_skip: (error) => {
      problems.push(problemOf(error, begin(Number((error as { lines?: number } | undefined)?.lines ?? 0))))
      return undefined
    },
  })
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
    problems.push(problemOf(error, { file, line }))
  }
  if (batch.length + problems.length > 0) yield [...batch, ...problems]
}

function problemOf(error: CsvError | undefined, origin: { file: string; line: number }): RawRecord {
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
