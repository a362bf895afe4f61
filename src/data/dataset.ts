import { createHash } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { replaceDirectory, sweepTemporaries } from '../tensor/atomic.ts'
import { type Lock, makeOnce } from '../tensor/lock.ts'
import { type EncodedBatch, makeEncoder } from './encode.ts'
import { cacheLimit, evict, touchEntry } from './eviction.ts'
import { maskedRow } from './personal.ts'
import { type FileFacts, openFeedback, type ReadOptions } from './read.ts'
import { defaultCache } from './source/files.ts'
import { StoreWriter, TokenStore } from './store.ts'
import { flag } from './table.ts'
import { emptyTokenizeFacts, type TokenizeFacts, type TokenizeOptions } from './tokenize.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { FeedbackRow } from './types.ts'

export interface DatasetOptions {
  sources: readonly string[]
  read: ReadOptions
  tokenize: Omit<TokenizeOptions, 'progress'>
  /** Whether e-mail addresses, phone numbers and keys are masked before anything else is done with a text. */
  mask?: boolean
  /** Whether near duplicates can be found. */
  signatures?: boolean
  /** Whether only desirable rows are used: for objectives that imitate their rows. */
  desirableOnly?: boolean
  /** Folder of the token cache. */
  cache?: string
  /** How much of the files is read, in bytes. */
  progress?: { start(total: number): void; update(done: number): void }
  signal?: AbortSignal
}

export interface DatasetFacts {
  files: FileFacts[]
  tokenizing: TokenizeFacts
  /** Rows that are not desirable, where only desirable ones are used. */
  leftOut: number
}

export interface Dataset {
  store: TokenStore
  facts: DatasetFacts
  /** Whether it was there before. */
  cached: boolean
}

const version = 3 // of the format, and of what is done to rows: counts up when either changes

/**
 * Tokenised rows of feedback, from a cache that is addressed by content: files, options and tokenizer. Where the cache lacks them they are
 * read, templated, tokenised and written as they come, so that memory does not grow with the data; of several processes that need the same
 * rows, one does the work and the others wait for it.
 */
export async function openDataset(options: DatasetOptions, tokenizer: Tokenizer): Promise<Dataset> {
  const reader = await openFeedback(options.sources, options.read)
  const folder = join(options.cache ?? defaultCache(), 'tokens')
  const target = join(folder, datasetKey(options, reader.files, reader.hashes, tokenizer))
  mkdirSync(folder, { recursive: true })
  sweepTemporaries(folder)
  const limit = cacheLimit()
  const cached = existsSync(target)
  if (cached) touchEntry(target)
  const make = (lock: Lock) =>
    replaceDirectory(target, (temporary) => build(temporary, options, reader, tokenizer, lock))
  await makeOnce(target, make, options.signal)
  const store = new TokenStore(target)
  if (!cached) evict(folder, limit)
  return { store, facts: store.facts as DatasetFacts, cached }
}

function datasetKey(
  { read, tokenize, mask, signatures, desirableOnly }: DatasetOptions,
  files: readonly string[],
  hashes: readonly string[],
  tokenizer: Tokenizer,
): string {
  const { cache: _, map, labels, ...settings } = read
  const content = {
    version,
    tokenizer: tokenizer.hash,
    files,
    hashes,
    settings,
    map: map && Object.entries(map),
    labels: labels && [...labels],
    tokenize,
    flags: [mask ?? false, signatures ?? false, desirableOnly ?? false],
  }
  return createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, 32)
}

async function build(
  folder: string,
  options: DatasetOptions,
  reader: Awaited<ReturnType<typeof openFeedback>>,
  tokenizer: Tokenizer,
  lock: Lock,
): Promise<void> {
  const writer = new StoreWriter(folder, { signatures: options.signatures ?? false })
  const tokenizing = emptyTokenizeFacts()
  let leftOut = 0
  options.progress?.start(reader.bytes)
  const encoder = makeEncoder(tokenizer, options.tokenize, reader.bytes)
  const underWay: { rows: FeedbackRow[]; batch: Promise<EncodedBatch> }[] = []
  const finishOne = async () => {
    const { rows, batch } = underWay.shift()!
    write(writer, rows, await batch, tokenizing)
    lock.refresh()
  }
  try {
    for await (const read of reader.batches()) {
      options.signal?.throwIfAborted()
      const used = options.desirableOnly ? read.filter((row) => row.label) : read
      leftOut += read.length - used.length
      const rows = options.mask ? used.map(maskedRow) : used
      underWay.push({ rows, batch: encoder.encode(rows) })
      while (underWay.length >= encoder.ahead) await finishOne()
      options.progress?.update(reader.bytesRead)
    }
    while (underWay.length > 0) await finishOne()
    options.progress?.update(reader.bytes)
    const facts: DatasetFacts = { files: reader.facts, tokenizing, leftOut }
    writer.finish(facts)
  } finally {
    writer.close()
    await encoder.close()
  }
}

function write(writer: StoreWriter, rows: readonly FeedbackRow[], batch: EncodedBatch, sum: TokenizeFacts): void {
  const { ids, prompts, completions, cuts, facts } = batch
  let at = 0
  for (const [i, row] of rows.entries()) {
    const [prompt, completion] = [prompts[i]!, completions[i]!]
    if (prompt < 0) continue
    const flags = (cuts[i]! & 1 ? flag.promptCut : 0) | (cuts[i]! & 2 ? flag.completionCut : 0)
    const middle = at + prompt
    writer.add(row, ids.subarray(at, middle), ids.subarray(middle, middle + completion), flags)
    at = middle + completion
  }
  addFacts(sum, facts)
}

function addFacts(sum: TokenizeFacts, facts: TokenizeFacts): void {
  sum.promptsCut += facts.promptsCut
  sum.completionsCut += facts.completionsCut
  sum.skipped += facts.skipped
  for (const list of ['cut', 'skippedBecause'] as const) sum[list].push(...facts[list].slice(0, 10 - sum[list].length))
}
