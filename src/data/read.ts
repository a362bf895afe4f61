import { statSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { emptyFacts, type FileFacts, FileReading } from './file-reading.ts'
import { Labels, type Verdict } from './labels.ts'
import { expanded, mapped, parsed } from './record-fields.ts'
import { fieldsOf, shapeOf, shapes } from './shapes/index.ts'
import { isJudgement, Judgements, judgementReason } from './shapes/judgements.ts'
import type { RankedUse, ShapeContext } from './shapes/shape.ts'
import { fileHash } from './source/bytes.ts'
import { filesOf, type Places } from './source/files.ts'
import { type RawRecord, type RecordOptions, RecordReader, rawRecords } from './source/records.ts'
import { type ThresholdSpec, thresholdOf } from './threshold.ts'
import type { FeedbackRow } from './types.ts'

export type { FileFacts } from './file-reading.ts'
export { DataError } from './origin.ts'

export interface ReadOptions extends RecordOptions, Places {
  /** A row that cannot be used ends the reading, or is skipped and counted. */
  onBadRow: 'error' | 'skip'
  /** Whether rows must say thumbs up or down. Without labels all rows are desirable. */
  needLabels: boolean
  /** Which column stands for which field: `{prompt: 'question', label: 'feedback.thumb'}`. */
  map?: Readonly<Record<string, string>>
  /** Name of the only shape that records may have; detected for each record where not given. */
  shape?: string
  /** What labels mean that are not known by themselves. */
  labels?: ReadonlyMap<string, Verdict>
  threshold?: ThresholdSpec
  ranked?: RankedUse
  scoreName?: string
  minScoreRatio?: number
  maxPairsPerPrompt?: number
  groupColumn?: string
}

const unusedReason = 'a judgement of no record that was read'

/** Reads feedback of any kind into memory. Throws DataError for a row that cannot be used, and for a file without rows. */
export async function readFeedback(
  sources: readonly string[],
  options: ReadOptions,
): Promise<{ rows: FeedbackRow[]; facts: { files: FileFacts[] } }> {
  const reader = await openFeedback(sources, options)
  const rows: FeedbackRow[] = []
  for await (const batch of reader.batches()) rows.push(...batch)
  return { rows, facts: { files: reader.facts } }
}

/** Opens feedback for reading a batch at a time: what is in memory does not grow with the data. */
export async function openFeedback(sources: readonly string[], options: ReadOptions): Promise<FeedbackReader> {
  const named = await filesOf(sources, options)
  const judging = named.length > 1 ? await judgementFiles(named) : []
  const judged = named.filter((file) => !judging.includes(file))
  const files = [...judging, ...judged]
  const hashes: string[] = []
  for (const file of files) hashes.push(await fileHash(file))
  const threshold = options.threshold ? thresholdOf(options.threshold, await scoresIn(judged, options)) : null
  const records = new RecordReader(judged, options)
  await records.prepare()
  return new FeedbackReader({ files, hashes, judgements: judging.length }, options, records, threshold)
}

/** Columns and shapes that the user names are those of the records that are judged. */
function judgementOptions({ map: _, ...options }: ReadOptions): ReadOptions {
  return { ...options, shape: 'judgements' }
}

/** Files that hold nothing but judgements of what other files hold, by their first record. They are read before the others. */
async function judgementFiles(files: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const file of files) if (await beginsWithJudgement(file)) found.push(file)
  return found
}

async function beginsWithJudgement(file: string): Promise<boolean> {
  for await (const [first] of rawRecords(file)) {
    if (!first || 'problem' in first) return false
    try {
      return isJudgement(expanded(parsed(first.text), first.origin)[0])
    } catch {
      return false // it is named when it is read for good
    }
  }
  return false
}

/** Reads files in order, record by record. */
export class FeedbackReader {
  readonly files: readonly string[]
  readonly hashes: readonly string[]
  /** What was read so far, a file each. */
  readonly facts: FileFacts[] = []
  readonly records: RecordReader
  readonly #options: ReadOptions
  readonly #threshold: ShapeContext['threshold']
  readonly #judgements = new Judgements()
  /** So many of the files, the first, hold judgements. */
  readonly #judging: number
  #pairs = 0
  /** Size of all files, and how much of it was read. */
  readonly bytes: number
  get bytesRead(): number {
    return this.records.counter.bytes
  }

  constructor(
    { files, hashes, judgements }: { files: readonly string[]; hashes: readonly string[]; judgements: number },
    options: ReadOptions,
    records: RecordReader,
    threshold: ShapeContext['threshold'],
  ) {
    this.files = files
    this.hashes = hashes
    this.#judging = judgements
    this.records = records
    this.bytes = files.reduce((sum, file) => sum + statSync(file).size, 0)
    this.#options = options
    this.#threshold = threshold
  }

  /** All rows, a few hundred at a time. Gives other work a turn between batches. */
  async *batches(): AsyncGenerator<FeedbackRow[]> {
    for (const [i, file] of this.files.entries()) {
      const facts = emptyFacts(file, this.hashes[i]!)
      this.facts.push(facts)
      const judging = i < this.#judging
      this.#judgements.begin(i)
      const options = judging ? judgementOptions(this.#options) : this.#options
      const reading = new FileReading(facts, options, this.#context())
      // What is chosen among records is chosen among those that are judged.
      const records = judging ? rawRecords(file, this.records.counter) : this.records.of(file)
      for await (const batch of records) {
        const rows = reading.read(batch)
        if (rows.length > 0) yield rows
        await setImmediate()
      }
      if (!judging) facts.passedOver = this.records.takePassedOver()
      const rest = reading.end()
      if (rest.length > 0) yield rest
      if (facts.rows === 0 && (!judging || this.#judging === this.files.length)) this.#refuseEmpty(facts)
    }
    if (this.facts.every(({ rows }) => rows === 0) && !this.#chosenAway) {
      const [first, ...others] = this.facts.filter((_, i) => i >= this.#judging || this.#judging === this.files.length)
      if (first) throw this.#empty(first, others.length)
    }
    this.#countJudgements()
  }

  /** Judgements of nothing that was read are counted by themselves. */
  #countJudgements(): void {
    for (const [i, facts] of this.facts.slice(0, this.#judging).entries()) {
      const unused = this.#judgements.unused(i)
      if (unused === 0) continue
      const { [judgementReason]: all = 0, ...others } = facts.leftOut
      const used = all - unused
      facts.leftOut = { ...others, ...(used > 0 && { [judgementReason]: used }), [unusedReason]: unused }
    }
  }

  get #chosenAway(): boolean {
    const { sample, limit } = this.#options
    return (sample !== undefined || limit !== undefined) && this.facts.every(({ records }) => records === 0)
  }

  /** Of several files, one of which nothing was chosen, or whose records nobody judged, is no mistake; one that has nothing is. */
  #refuseEmpty(facts: FileFacts): void {
    const { where, sample, limit } = this.#options
    const chosen = where !== undefined || sample !== undefined || limit !== undefined
    const unjudged = facts.skipped === 0 && Object.keys(facts.leftOut).length > 0
    if (facts.records === 0 ? !chosen : !unjudged) throw this.#empty(facts, 0)
  }

  #empty(facts: FileFacts, others: number): Error {
    const more = others === 0 ? '' : `, and none in ${others} more`
    return new Error(`${facts.file}: no rows${more}; ${whyEmpty(facts, this.#options.where)}`)
  }

  #context(): ShapeContext {
    const { labels, needLabels, ranked, scoreName, minScoreRatio, maxPairsPerPrompt, groupColumn } = this.#options
    return {
      labels: new Labels(labels),
      needLabels,
      threshold: this.#threshold,
      ranked: ranked ?? 'best-worst',
      minScoreRatio: minScoreRatio ?? 2,
      maxPairsPerPrompt: maxPairsPerPrompt ?? 5,
      judgements: this.#judgements,
      nextPair: () => this.#pairs++,
      ...(scoreName !== undefined && { scoreName }),
      ...(groupColumn !== undefined && { groupColumn }),
    }
  }
}

function whyEmpty(facts: FileFacts, where: string | undefined): string {
  const [reason] = Object.keys(facts.leftOut)
  if (facts.skipped > 0) return `all ${facts.skipped} were skipped: ${facts.skippedBecause[0]}`
  if (reason !== undefined)
    return `${facts.records === 1 ? 'the only record was' : `all ${facts.records} records were`} left out: ${reason}`
  return where === undefined ? 'the file is empty' : `no record satisfies --where ${JSON.stringify(where)}`
}

/** All scores, for thresholds that are drawn from them. Records that cannot be read are named when they are read for good. */
async function scoresIn(files: readonly string[], options: ReadOptions): Promise<Float64Array> {
  if (options.threshold?.kind === 'number') return new Float64Array()
  const records = new RecordReader(files, options)
  await records.prepare()
  const scores: number[] = []
  for (const file of files) {
    for await (const batch of records.of(file)) for (const record of batch) scores.push(...scoresOf(record, options))
  }
  return Float64Array.from(scores)
}

function scoresOf(record: RawRecord, { map, shape }: ReadOptions): number[] {
  try {
    if ('problem' in record) return []
    return expanded(parsed(record.text), record.origin).flatMap((value) => {
      const fields = mapped(fieldsOf(value), map)
      const known = shape === undefined ? shapeOf(fields) : shapes.find(({ name }) => name === shape)
      return known?.scores?.(fields) ?? []
    })
  } catch {
    return []
  }
}
