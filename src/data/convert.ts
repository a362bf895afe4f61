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
import { duck, queryAll, quoted } from './source/duck.ts'
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
 * them; with `pairs`, the two rows of a comparison as one of prompt, chosen, rejected. Reads the data twice, so that memory does not grow with it.
 */
export async function convertFeedback(options: Options): Promise<Converted> {
  const { output } = options
  if (!/\.(jsonl|jsonl\.gz|parquet)$/.test(output))
    throw new Error(`--output ${output}: the name must end in .jsonl, .jsonl.gz or .parquet`)
  const { choice, files } = await choose(options)
  const write = (file: number) => writeRows(options, choice, file)
  if (output.endsWith('.parquet')) await writeParquet(output, write, options.pairs)
  else await writeLines(output, write)
  return { rows: choice.rows.length, files, findings: choice.findings }
}

function open({ data, onBadRow, unlabeled, seed, cache, feedback }: Options) {
  return openFeedback(data, {
    onBadRow,
    needLabels: !unlabeled,
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

interface ChosenRow {
  row: FeedbackRow
  weight: number
}

/** Writes the chosen rows as lines of JSON. */
async function writeRows(options: Options, { rows, weights }: Choice, file: number): Promise<void> {
  const reader = await open(options)
  let [position, next] = [0, 0]
  let held: ChosenRow | null = null // the first half of a comparison, whose other half may come
  for await (const batch of reader.batches()) {
    const lines: string[] = []
    for (const read of batch) {
      if (rows[next] !== position++) continue
      const row = options.feedback.personal === 'mask' ? maskedRow(read) : read
      const chosen: ChosenRow = { row, weight: weights[next++]! }
      const pair: string | null = held && options.pairs ? pairRow(held, chosen) : null
      if (held) lines.push(pair ?? plainRow(held))
      held = pair ? null : chosen
    }
    writeAll(file, Buffer.from(lines.join('')))
  }
  if (held) writeAll(file, Buffer.from(plainRow(held)))
}

function plainRow({ row, weight }: ChosenRow): string {
  const { prompt, completion, label } = row
  return `${JSON.stringify({ prompt, completion, label, ...besideTexts(row, weight) })}\n`
}

/** The two sides of one comparison as one row; null where they are not that, or were given different weights. */
function pairRow(first: ChosenRow, second: ChosenRow): string | null {
  if (first.row.pair === undefined || first.row.pair !== second.row.pair || first.weight !== second.weight) return null
  const [chosen, rejected] = first.row.label ? [first.row, second.row] : [second.row, first.row]
  const texts = { prompt: chosen.prompt, chosen: chosen.completion, rejected: rejected.completion }
  return `${JSON.stringify({ ...texts, ...besideTexts(chosen, first.weight) })}\n`
}

function besideTexts({ annotator, time, tools }: FeedbackRow, weight: number) {
  return {
    ...(weight !== 1 && { weight }),
    ...(annotator !== undefined && { annotator }),
    ...(time !== undefined && { time: new Date(time).toISOString() }),
    ...(tools !== undefined && { tools }),
  }
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

const besideTypes = "weight: 'DOUBLE', annotator: 'VARCHAR', time: 'VARCHAR', tools: 'VARCHAR'"
const columnsOf = {
  plain: `{prompt: 'VARCHAR', completion: 'VARCHAR', label: 'BOOLEAN', ${besideTypes}}`,
  pairs: `{prompt: 'VARCHAR', chosen: 'VARCHAR', rejected: 'VARCHAR', completion: 'VARCHAR', ${besideTypes}}`,
}

/**
 * Columns have one type: texts stay texts, messages are written as JSON, which reading understands. Throws where rows are of two kinds: one
 * table cannot say which columns a row lacks.
 */
async function writeParquet(output: string, write: (file: number) => Promise<void>, pairs: boolean): Promise<void> {
  await withTemporary(async (path) => {
    await toFile(path, write)
    const partial = `${output}.${process.pid}.partial`
    const connection = await duck()
    const rows = `read_json(${quoted(path)}, format='newline_delimited', columns=${columnsOf[pairs ? 'pairs' : 'plain']}, maximum_object_size=${1 << 25})`
    if (pairs) {
      const [alone] = await queryAll<{ n: bigint }>(
        connection,
        `select count(*) as n from ${rows} where chosen is null`,
      )
      if (alone && alone.n > 0n)
        throw new Error(
          `--output ${output}: ${alone.n} rows are no half of a whole pair; write .jsonl, whose rows may be of both kinds, or leave out --pairs`,
        )
    }
    const columns = pairs ? '* exclude (completion)' : '*'
    await connection.run(
      `copy (select ${columns} from ${rows}) to ${quoted(partial)} (format parquet, compression zstd)`,
    )
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
