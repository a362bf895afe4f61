import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { emptyTokenizeFacts, type TokenizeFacts, type TokenizeOptions, tokenizeRow } from './tokenize.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { FeedbackRow } from './types.ts'

export type EncodeOptions = Omit<TokenizeOptions, 'progress'>

/** A batch of rows as token ids: all ids in one array, and of each row the lengths of its parts (-1: skipped) and what was cut (1, 2). */
export interface EncodedBatch {
  ids: Int32Array
  prompts: Int32Array
  completions: Int32Array
  cuts: Uint8Array
  facts: TokenizeFacts
}

/** Throws DataError for a row that cannot be used and must not be skipped. */
export function encodeBatch(rows: readonly FeedbackRow[], tokenizer: Tokenizer, options: EncodeOptions): EncodedBatch {
  const facts = emptyTokenizeFacts()
  const parts: Int32Array[] = []
  const [prompts, completions, cuts] = [
    new Int32Array(rows.length),
    new Int32Array(rows.length),
    new Uint8Array(rows.length),
  ]
  let total = 0
  for (const [i, row] of rows.entries()) {
    const tokens = tokenizeRow(row, tokenizer, options, facts)
    prompts[i] = tokens ? tokens.prompt.length : -1
    completions[i] = tokens ? tokens.completion.length : -1
    if (!tokens) continue
    cuts[i] = Number(tokens.promptCut) + 2 * Number(tokens.completionCut)
    parts.push(tokens.prompt, tokens.completion)
    total += tokens.prompt.length + tokens.completion.length
  }
  const ids = new Int32Array(total)
  let at = 0
  for (const part of parts) {
    ids.set(part, at)
    at += part.length
  }
  return { ids, prompts, completions, cuts, facts }
}

/** Encodes batches: a promise each, to be awaited in the order of the calls. */
export interface Encoder {
  /** Batches that should be under way at once. */
  readonly ahead: number
  encode(rows: readonly FeedbackRow[]): Promise<EncodedBatch>
  close(): Promise<void>
}

/** Below this many bytes of data starting threads takes longer than they save. */
const worthThreads = 4_000_000

/**
 * An encoder for so many bytes of data: on this thread where they are few, else on a thread a processor. What comes out is the same. Threads
 * need a tokenizer that came from a folder, and compiled files: Node starts no TypeScript.
 */
export function makeEncoder(tokenizer: Tokenizer, options: EncodeOptions, bytes: number): Encoder {
  const compiled = import.meta.url.endsWith('.js')
  if (bytes < worthThreads || !compiled || !tokenizer.source) {
    return { ahead: 1, encode: async (rows) => encodeBatch(rows, tokenizer, options), close: async () => {} }
  }
  return new ThreadedEncoder(tokenizer.source, options, Math.max(1, Math.min(8, availableParallelism())))
}

interface Waiting {
  resolve(batch: EncodedBatch): void
  reject(error: Error): void
}

class ThreadedEncoder implements Encoder {
  readonly ahead: number
  readonly #workers: Worker[]
  readonly #waiting = new Map<number, Waiting>()
  #next = 0

  constructor(source: NonNullable<Tokenizer['source']>, options: EncodeOptions, count: number) {
    this.ahead = count * 3
    const file = new URL('./encode-worker.js', import.meta.url)
    this.#workers = Array.from({ length: count }, () => new Worker(file, { workerData: { source, options } }))
    for (const worker of this.#workers) {
      worker.on('message', (message: { id: number; batch?: EncodedBatch; error?: string }) => this.#settle(message))
      worker.on('error', (error) => this.#failAll(error))
    }
  }

  encode(rows: readonly FeedbackRow[]): Promise<EncodedBatch> {
    const id = this.#next++
    const result = new Promise<EncodedBatch>((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
    result.catch(() => {}) // it is awaited in its turn; until then it is not unhandled
    this.#workers[id % this.#workers.length]!.postMessage({ id, rows })
    return result
  }

  #settle({ id, batch, error }: { id: number; batch?: EncodedBatch; error?: string }): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (batch) waiting?.resolve(batch)
    else waiting?.reject(new Error(error))
  }

  #failAll(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }
}
