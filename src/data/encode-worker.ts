import { parentPort, workerData } from 'node:worker_threads'
import { type EncodeOptions, encodeBatch } from './encode.ts'
import { loadTokenizer, type Tokenizer } from './tokenizer.ts'
import type { FeedbackRow } from './types.ts'

const { source, options } = workerData as { source: NonNullable<Tokenizer['source']>; options: EncodeOptions }
const tokenizer = loadTokenizer(source.folder, source.options)

parentPort!.on('message', ({ id, rows }: { id: number; rows: FeedbackRow[] }) => {
  try {
    const batch = encodeBatch(rows, tokenizer, options)
    const { ids, prompts, completions, cuts } = batch
    parentPort!.postMessage(
      { id, batch },
      [ids, prompts, completions, cuts].map((array) => array.buffer as ArrayBuffer),
    )
  } catch (error) {
    parentPort!.postMessage({ id, error: (error as Error).message })
  }
})
