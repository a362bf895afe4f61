import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { rowsOf } from './shapes.ts'
import type { FeedbackRow, Origin } from './types.ts'

/** A row that cannot be used: the message names file, line, what is wrong and what to do. */
export class DataError extends Error {
  constructor({ file, line }: Origin, problem: string) {
    super(`${file}:${line}: ${problem}`)
  }
}

export interface ReadOptions {
  /** A row that cannot be used ends the reading, or is skipped and counted. */
  onBadRow: 'error' | 'skip'
  /** Whether rows must say thumbs up or down. Without labels all rows are desirable. */
  needLabels: boolean
}

/** What was read of one file. */
export interface FileFacts {
  file: string
  /** Of the file's bytes. */
  sha256: string
  rows: number
  desirable: number
  undesirable: number
  /** Lines that held a pair and so gave two rows. */
  pairs: number
  skipped: number
  /** The first few reasons. */
  skippedBecause: string[]
}

const reasonsKept = 10

/** Reads feedback from JSONL files, gzipped or not. Throws DataError for a row that cannot be used, and for a file without rows. */
export async function readFeedback(
  files: readonly string[],
  options: ReadOptions,
): Promise<{ rows: FeedbackRow[]; facts: { files: FileFacts[] } }> {
  const rows: FeedbackRow[] = []
  const facts: FileFacts[] = []
  for (const file of files) facts.push(readFile(file, options, rows))
  return { rows, facts: { files: facts } }
}

function readFile(file: string, { onBadRow, needLabels }: ReadOptions, into: FeedbackRow[]): FileFacts {
  const bytes = readBytes(file)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const facts: FileFacts = {
    file,
    sha256,
    rows: 0,
    desirable: 0,
    undesirable: 0,
    pairs: 0,
    skipped: 0,
    skippedBecause: [],
  }
  for (const { bytes: lineBytes, line } of linesOf(unpacked(bytes, file))) {
    const origin = { file, line }
    try {
      const text = decoded(lineBytes)
      if (text === '') continue
      const found = rowsOf(parsed(text), needLabels)
      if (found.length === 2) facts.pairs++
      for (const row of found) into.push({ ...row, origin })
      facts.rows += found.length
      for (const { label } of found) facts[label ? 'desirable' : 'undesirable']++
    } catch (error) {
      const wrong = new DataError(origin, (error as Error).message)
      if (onBadRow === 'error') throw wrong
      facts.skipped++
      if (facts.skippedBecause.length < reasonsKept) facts.skippedBecause.push(wrong.message)
    }
  }
  if (facts.rows > 0) return facts
  const why = facts.skipped > 0 ? `all ${facts.skipped} were skipped: ${facts.skippedBecause[0]}` : 'the file is empty'
  throw new Error(`${file}: no rows; ${why}`)
}

function readBytes(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(code === 'ENOENT' ? `${file}: no such file` : `${file}: ${message}`)
  }
}

/** Gzip is known by its first two bytes, whatever the name. */
function unpacked(bytes: Buffer, file: string): Buffer {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return gunzipSync(bytes)
  } catch (error) {
    throw new Error(`${file}: damaged gzip: ${(error as Error).message}`)
  }
}

/** Lines with their numbers. Only line feeds end a line: JSON may hold Unicode's other separators. */
function* linesOf(bytes: Buffer): Generator<{ bytes: Buffer; line: number }> {
  let line = 1
  for (let start = 0; start < bytes.length; line++) {
    const feed = bytes.indexOf(10, start)
    const end = feed < 0 ? bytes.length : feed
    yield { bytes: bytes.subarray(start, end), line }
    start = end + 1
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true }) // drops a byte order mark

function decoded(line: Buffer): string {
  try {
    return decoder.decode(line).trim()
  } catch {
    throw new Error('not UTF-8; convert the file, for example with: iconv -f latin1 -t utf-8')
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`not JSON: ${(error as Error).message}; a row is one JSON object on one line`)
  }
}
