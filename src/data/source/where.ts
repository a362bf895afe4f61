import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeAll } from '../../tensor/atomic.ts'
import { csvRows } from './csv.ts'
import { duck, queryRows, quoted } from './duck.ts'
import type { FileKind } from './files.ts'

/** Which records of a file an SQL condition keeps: a bit each. */
export class Kept {
  readonly #bits: number[] = []
  records = 0

  add(position: number): void {
    this.#bits[position >> 5] = (this.#bits[position >> 5] ?? 0) | (1 << (position & 31))
  }

  has(position: number): boolean {
    return ((this.#bits[position >> 5] ?? 0) & (1 << (position & 31))) !== 0
  }
}

/**
 * Evaluates the condition by DuckDB over the file's own columns. It decides which records are read and nothing else: what is read of them is
 * the file's own text. Throws naming the option where the condition is no SQL or names a column that is not there.
 */
export async function recordsWhere(file: string, kind: FileKind, condition: string): Promise<Kept> {
  const connection = await duck()
  const kept = new Kept()
  const temporary = mkdtempSync(join(tmpdir(), 'prospect-where-'))
  const scan = await scanOf(file, kind, temporary)
  const query = `select position from (select row_number() over () - 1 as position, * from ${scan}) where (${condition})`
  const count = `select count(*) as total from ${scan}`
  try {
    for await (const rows of queryRows<{ position: bigint }>(connection, query))
      for (const { position } of rows) kept.add(Number(position))
    for await (const rows of queryRows<{ total: bigint }>(connection, count)) kept.records = Number(rows[0]!.total)
  } catch (error) {
    const lines = (error as Error).message.split('\n')
    const candidates = lines.filter((line) => /^Candidate bindings/.test(line)) // the columns of like names
    throw new Error(`--where ${JSON.stringify(condition)}: ${file}: ${[lines[0], ...candidates].join(' ')}`)
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
  return kept
}

/** What DuckDB reads. A CSV file it is given as the rows that we read of it, so that both see the same ones. */
async function scanOf(file: string, kind: FileKind, temporary: string): Promise<string> {
  if (kind === 'parquet') return `read_parquet(${quoted(file)})`
  const from = kind === 'csv' ? await asJsonLines(file, temporary) : file
  const lines = kind !== 'json'
  const format = lines ? 'newline_delimited' : 'auto'
  return `read_json(${quoted(from)}, format='${format}', ignore_errors=${lines}, sample_size=100000, union_by_name=true, maximum_object_size=${1 << 25})`
}

async function asJsonLines(file: string, folder: string): Promise<string> {
  const path = join(folder, 'rows.jsonl')
  const out = openSync(path, 'w')
  try {
    for await (const batch of csvRows(file))
      writeAll(out, Buffer.from(batch.map((record) => ('text' in record ? `${record.text}\n` : 'null\n')).join('')))
  } finally {
    closeSync(out)
  }
  return path
}
