import { closeSync, createReadStream, createWriteStream, mkdtempSync, openSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type { z } from 'zod'
import { writeAll } from '../tensor/atomic.ts'
import { type Choice, chooseRows } from './choose.ts'
import { choiceOptionsOf, type convertOptions, readOptionsOf } from './options.ts'
import { maskedRow } from './personal.ts'
import { type FileFacts, openFeedback } from './read.ts'
import { duck, quoted } from './source/duck.ts'
import { RowTableBuilder } from './table.ts'
import type { FeedbackRow } from './types.ts'

type Options = z.output<typeof convertOptions>

/** What was converted. */
export interface Converted {
  rows: number
  files: FileFacts[]
  findings: Choice['findings']
}

/**
 * Writes the rows that training would use as plain ones: prompt, completion, label, and weight, annotator, time and tools where they have
 * them. Reads the data twice, so that memory does not grow with it.
 */
export async function convertFeedback(options: Options): Promise<Converted> {
  const { output } = options
  if (!/\.(jsonl|jsonl\.gz|parquet)$/.test(output))
    throw new Error(`--output ${output}: the name must end in .jsonl, .jsonl.gz or .parquet`)
  const { choice, files } = await choose(options)
  const write = (file: number) => writeRows(options, choice, file)
  if (output.endsWith('.parquet')) await writeParquet(output, write)
  else await writeLines(output, write)
  return { rows: choice.rows.length, files, findings: choice.findings }
}

function open({ data, onBadRow, seed, cache, feedback }: Options) {
  return openFeedback(data, {
    onBadRow,
    needLabels: true,
    seed,
    ...readOptionsOf(feedback),
    ...(cache !== undefined && { cache }),
  })
}

async function choose(options: Options): Promise<{ choice: Choice; files: FileFacts[] }> {
  const { feedback, seed } = options
  const reader = await open(options)
  const builder = new RowTableBuilder({ signatures: feedback.nearDuplicates !== undefined })
  for await (const rows of reader.batches())
    for (const row of rows) builder.add(feedback.personal === 'mask' ? maskedRow(row) : row)
  return { choice: chooseRows(builder.table(), choiceOptionsOf(feedback, seed)), files: reader.facts }
}

/** Writes the chosen rows as lines of JSON. */
async function writeRows(options: Options, { rows, weights }: Choice, file: number): Promise<void> {
  const reader = await open(options)
  let [position, next] = [0, 0]
  for await (const batch of reader.batches()) {
    const lines: string[] = []
    for (const row of batch) {
      if (rows[next] === position++)
        lines.push(plainRow(options.feedback.personal === 'mask' ? maskedRow(row) : row, weights[next++]!))
    }
    writeAll(file, Buffer.from(lines.join('')))
  }
}

function plainRow({ prompt, completion, label, annotator, time, tools }: FeedbackRow, weight: number): string {
  const row = {
    prompt,
    completion,
    label,
    ...(weight !== 1 && { weight }),
    ...(annotator !== undefined && { annotator }),
    ...(time !== undefined && { time: new Date(time).toISOString() }),
    ...(tools !== undefined && { tools }),
  }
  return `${JSON.stringify(row)}\n`
}

/** Lines go to a file beside the output, which takes its place when it is complete. */
async function writeLines(output: string, write: (file: number) => Promise<void>): Promise<void> {
  const partial = `${output}.${process.pid}.partial`
  try {
    await toFile(partial, write)
    if (output.endsWith('.gz')) {
      await pipeline(createReadStream(partial), createGzip(), createWriteStream(`${partial}.gz`))
      renameSync(`${partial}.gz`, output)
    } else renameSync(partial, output)
  } finally {
    for (const file of [partial, `${partial}.gz`]) rmSync(file, { force: true })
  }
}

async function toFile(path: string, write: (file: number) => Promise<void>): Promise<void> {
  const file = openSync(path, 'w')
  try {
    await write(file)
  } finally {
    closeSync(file)
  }
}

/** Columns have one type: texts stay texts, messages are written as JSON, which reading understands. */
async function writeParquet(output: string, write: (file: number) => Promise<void>): Promise<void> {
  await withTemporary(async (path) => {
    await toFile(path, write)
    const types =
      "{prompt: 'VARCHAR', completion: 'VARCHAR', label: 'BOOLEAN', weight: 'DOUBLE', annotator: 'VARCHAR', time: 'VARCHAR', tools: 'VARCHAR'}"
    const partial = `${output}.${process.pid}.partial`
    const connection = await duck()
    const rows = `read_json(${quoted(path)}, format='newline_delimited', columns=${types}, maximum_object_size=${1 << 25})`
    await connection.run(`copy (select * from ${rows}) to ${quoted(partial)} (format parquet, compression zstd)`)
    renameSync(partial, output)
  })
}

async function withTemporary(use: (path: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'prospect-convert-'))
  try {
    await use(join(folder, 'rows.jsonl'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
