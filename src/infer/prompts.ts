import { DataError } from '../data/read.ts'
import { rowsOf } from '../data/shapes.ts'
import type { FeedbackRow, Message } from '../data/types.ts'
import { readTextFile } from '../options/files.ts'

/** A prompt and how errors name it. */
export interface NamedPrompt {
  prompt: string | Message[]
  name: string
  /** What the chat template shows as callable. */
  tools?: FeedbackRow['tools']
}

/**
 * Reads a JSONL file whose rows are `{prompt}` (a text or messages) or `{messages}`. Rows of feedback serve too: what was judged in them is left
 * out. Throws DataError for a row that has no prompt.
 */
export function readPrompts(file: string): NamedPrompt[] {
  const prompts: NamedPrompt[] = []
  for (const [i, text] of readTextFile('--prompts', file).split('\n').entries()) {
    if (text.trim() === '') continue
    const line = i + 1
    try {
      prompts.push({ ...promptOf(JSON.parse(text)), name: `${file}:${line}` })
    } catch (error) {
      const { message } = error as Error
      throw new DataError({ file, line }, error instanceof SyntaxError ? `not JSON: ${message}` : message)
    }
  }
  if (prompts.length === 0) throw new Error(`${file}: no prompts; the file is empty`)
  return prompts
}

/** The prompt of a row, seen as a row of feedback: with a reply where it has none yet. */
function promptOf(row: unknown): Pick<NamedPrompt, 'prompt' | 'tools'> {
  if (typeof row !== 'object' || row === null || Array.isArray(row))
    throw new Error(`expected an object with prompt or messages, got ${JSON.stringify(row)}`)
  const { label: _, ...fields } = row as Record<string, unknown>
  if (!['prompt', 'messages', 'chosen'].some((name) => name in fields))
    throw new Error(`neither prompt nor messages; the row has ${Object.keys(fields).join(', ') || 'no fields'}`)
  const { messages } = fields
  if (Array.isArray(messages) && messages.at(-1)?.role !== 'assistant')
    fields.messages = [...messages, { role: 'assistant', content: '' }]
  const { prompt, tools } = rowsOf({ completion: '', ...fields }, false)[0]!
  return { prompt, ...(tools && { tools }) }
}
