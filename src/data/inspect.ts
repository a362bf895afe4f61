import type { z } from 'zod'
import { type Choice, chooseRows, type Finding } from './choose.ts'
import { type DatasetFacts, openDataset } from './dataset.ts'
import { choiceOptionsOf, type inspectOptions, readOptionsOf } from './options.ts'
import { maskedRow } from './personal.ts'
import { type FileFacts, openFeedback } from './read.ts'
import { type RowTable, RowTableBuilder } from './table.ts'
import type { Tokenizer } from './tokenizer.ts'

type Options = z.output<typeof inspectOptions>

/** What Prospect makes of feedback. */
export interface Inspection {
  files: FileFacts[]
  /** Rows read, and those of them that are used. */
  read: ClassCounts
  used: ClassCounts
  findings: Record<string, Finding>
  /** Of what lengths are counted: tokens of a model, or characters. */
  unit: 'tokens' | 'characters'
  promptLengths: Lengths
  completionLengths: Lengths
  /** Rows cut at the length limit; null where no model counts tokens. */
  truncation: { maxLength: number; prompts: number; completions: number; examples: string[] } | null
  annotators: { name: string; rows: number; desirable: number }[]
  /** First and last judgement, as ISO dates. */
  time: { from: string; to: string } | null
  advice: string[]
}

export interface ClassCounts {
  rows: number
  desirable: number
  undesirable: number
  prompts: number
  /** Sums of weights. */
  desirableWeight: number
  undesirableWeight: number
}

export interface Lengths {
  median: number
  mean: number
  p95: number
  max: number
  /** Rows by length, desirable and undesirable; the last bin holds all that is longer. */
  bins: { from: number; to: number; desirable: number; undesirable: number }[]
}

interface Progress {
  start(total: number): void
  update(done: number): void
}

/** Reads all of the data, and says what is in it, what would be used and what is doubtful. Trains on nothing, changes nothing. */
export async function inspectFeedback(
  options: Options,
  tokenizer: Tokenizer | null,
  progress?: Progress,
): Promise<Inspection> {
  const { table, facts, lengths } = tokenizer
    ? await tokenized(options, tokenizer, progress)
    : await counted(options, progress)
  const choice = chooseRows(table, choiceOptionsOf(options.feedback, options.seed))
  const all = Int32Array.from({ length: table.length }, (_, i) => i)
  const ones = Float32Array.from(table.columns.weight, (weight) => (Number.isNaN(weight) ? 1 : weight))
  const used = countsOf(table, choice.rows, choice.weights)
  return {
    files: facts.files,
    read: countsOf(table, all, ones),
    used,
    findings: choice.findings,
    unit: tokenizer ? 'tokens' : 'characters',
    promptLengths: lengthsOf(lengths.prompt, table, choice),
    completionLengths: lengthsOf(lengths.completion, table, choice),
    truncation: tokenizer
      ? {
          maxLength: options.maxLength,
          prompts: facts.tokenizing!.promptsCut,
          completions: facts.tokenizing!.completionsCut,
          examples: facts.tokenizing!.cut,
        }
      : null,
    annotators: annotatorsOf(table),
    time: timeOf(table),
    advice: [...(options.unlabeled ? [] : weightAdvice(used)), ...findingAdvice(choice)],
  }
}

interface Read {
  table: RowTable
  facts: Pick<DatasetFacts, 'files'> & { tokenizing: DatasetFacts['tokenizing'] | null }
  lengths: { prompt: ArrayLike<number>; completion: ArrayLike<number> }
}

type Reading = Pick<Options, 'onBadRow' | 'unlabeled' | 'seed' | 'cache' | 'feedback'>

function readOptions({ onBadRow, unlabeled, seed, cache, feedback }: Reading) {
  return { onBadRow, needLabels: !unlabeled, seed, ...readOptionsOf(feedback), ...(cache !== undefined && { cache }) }
}

async function tokenized(options: Options, tokenizer: Tokenizer, progress?: Progress): Promise<Read> {
  const { maxLength, maxPromptLength, onBadRow, feedback, cache } = options
  const { store, facts } = await openDataset(
    {
      sources: options.data,
      read: readOptions(options),
      tokenize: {
        maxLength,
        maxPromptLength,
        strict: false,
        onBadRow,
        cut: feedback.truncate === 'prompt-end' ? 'prompt-end' : 'prompt-start',
      },
      mask: feedback.personal === 'mask',
      signatures: true,
      ...(cache !== undefined && { cache }),
      ...(progress && { progress }),
    },
    tokenizer,
  )
  return { table: store.table, facts, lengths: { prompt: store.promptTokens, completion: store.completionTokens } }
}

async function counted(options: Options, progress?: Progress): Promise<Read> {
  const reader = await openFeedback(options.data, readOptions(options))
  const builder = new RowTableBuilder({ signatures: true })
  progress?.start(reader.bytes)
  for await (const rows of reader.batches()) {
    for (const row of rows) builder.add(options.feedback.personal === 'mask' ? maskedRow(row) : row)
    progress?.update(reader.bytesRead)
  }
  progress?.update(reader.bytes)
  const table = builder.table()
  const { promptLength: prompt, completionLength: completion } = table.columns
  return { table, facts: { files: reader.facts, tokenizing: null }, lengths: { prompt, completion } }
}

function countsOf({ columns }: RowTable, rows: Int32Array, weights: Float32Array): ClassCounts {
  const counts = { rows: rows.length, desirable: 0, undesirable: 0, desirableWeight: 0, undesirableWeight: 0 }
  const prompts = new Set<number>()
  for (const [i, row] of rows.entries()) {
    const label = columns.label[row] === 1
    counts[label ? 'desirable' : 'undesirable']++
    counts[label ? 'desirableWeight' : 'undesirableWeight'] += weights[i]!
    prompts.add(columns.prompt[row]!)
  }
  return { ...counts, prompts: prompts.size }
}

const binCount = 20

function lengthsOf(lengths: ArrayLike<number>, { columns }: RowTable, { rows }: Choice): Lengths {
  const values = Float64Array.from(rows, (row) => lengths[row]!)
  const sorted = values.slice().sort()
  if (sorted.length === 0) return { median: 0, mean: 0, p95: 0, max: 0, bins: [] }
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
  const size = Math.max(1, Math.ceil((at(0.99) + 1) / binCount))
  const bins = Array.from({ length: binCount }, (_, i) => ({
    from: i * size,
    to: (i + 1) * size - 1,
    desirable: 0,
    undesirable: 0,
  }))
  for (const [i, row] of rows.entries()) {
    const bin = bins[Math.min(binCount - 1, Math.floor(values[i]! / size))]!
    bin[columns.label[row] === 1 ? 'desirable' : 'undesirable']++
  }
  const max = sorted.at(-1)!
  bins.at(-1)!.to = Math.max(bins.at(-1)!.to, max)
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return { median: at(0.5), mean, p95: at(0.95), max, bins }
}

function annotatorsOf({ columns, annotators }: RowTable): Inspection['annotators'] {
  const counts = annotators.map((name) => ({ name, rows: 0, desirable: 0 }))
  for (const [row, annotator] of columns.annotator.entries()) {
    if (annotator < 0) continue
    counts[annotator]!.rows++
    counts[annotator]!.desirable += columns.label[row]!
  }
  return counts.sort((a, b) => b.rows - a.rows)
}

function timeOf({ columns }: RowTable): Inspection['time'] {
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const time of columns.time) {
    if (Number.isNaN(time)) continue
    from = Math.min(from, time)
    to = Math.max(to, time)
  }
  return from <= to ? { from: new Date(from).toISOString(), to: new Date(to).toISOString() } : null
}

/** lambda_D n_D / (lambda_U n_U) should be 1 to 3/2 (arXiv 2402.01306v4, Eq. 9). */
function weightAdvice({ desirableWeight: up, undesirableWeight: down }: ClassCounts): string[] {
  if (up === 0 || down === 0)
    return [`all rows are ${up === 0 ? 'undesirable' : 'desirable'}: KTO needs both kinds to tell them apart`]
  const ratio = up / down
  const shown = (value: number) => value.toPrecision(3)
  if (ratio >= 1 && ratio <= 1.5) return [`the classes are balanced (${shown(ratio)}): keep both weights at 1`]
  const flag = ratio < 1 ? 'desirable' : 'undesirable'
  const [from, to] = ratio < 1 ? [1 / ratio, 1.5 / ratio] : [ratio / 1.5, ratio]
  return [
    `desirable to undesirable is ${shown(ratio)}; the paper advises lambda_D n_D / (lambda_U n_U) of 1 to 1.5: set --${flag}-weight to ${shown(from)} ... ${shown(to)}`,
  ]
}

function findingAdvice({ findings }: Choice): string[] {
  const advice: readonly (readonly [string, string])[] = [
    ['duplicates', 'rows are exact duplicates: --duplicates drop'],
    ['nearDuplicates', 'rows are near duplicates: --near-duplicates 0.8'],
    ['contradictions', 'rows contradict each other: --contradictions drop, majority or weight'],
    ['empty', 'completions are empty: --empty drop'],
    ['boilerplate', 'completions begin as refusals do: --boilerplate drop'],
    ['email', 'rows hold e-mail addresses: --personal mask or drop'],
    ['phone', 'rows hold phone numbers: --personal mask or drop'],
    ['key', 'rows hold what looks like keys: --personal mask or drop'],
  ]
  return advice.flatMap(([name, text]) => {
    const left = (findings[name]?.found ?? 0) - (findings[name]?.dropped ?? 0)
    return left > 0 ? [`${left} ${text}`] : []
  })
}
