import type { FeedbackRow, Message } from './types.ts'

type Row = Omit<FeedbackRow, 'origin'>
type Text = string | Message[]
type Fields = Record<string, unknown>

/**
 * The judged completions in one object of a file: one where it has a completion, two (desirable first) where it has a pair. Throws saying what
 * is wrong with it. Known: `{prompt, completion, label}`, `{messages, label}`, `{prompt?, chosen, rejected}`; texts are strings or chat messages.
 */
export function rowsOf(value: unknown, needLabels: boolean): Row[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error(`expected an object, got ${brief(value)}`)
  }
  const fields = value as Fields
  if ('chosen' in fields || 'rejected' in fields) return pairOf(fields)
  const { prompt, completion } = 'messages' in fields ? splitMessages(fields) : givenTexts(fields)
  return [{ prompt, completion, label: needLabels || fields.label !== undefined ? labelOf(fields) : true }]
}

function givenTexts(fields: Fields): { prompt: Text; completion: Text } {
  const prompt = textOf(fields, 'prompt')
  if (prompt.length === 0) throw new Error('prompt is empty')
  return { prompt, completion: textOf(fields, 'completion') }
}

/** A conversation whose last turn, the assistant's, is judged. */
function splitMessages(fields: Fields): { prompt: Message[]; completion: Message[] } {
  const messages = textOf(fields, 'messages')
  if (typeof messages === 'string') throw new Error('messages must be a list of {role, content}')
  const last = messages.at(-1)
  if (messages.length < 2 || last?.role !== 'assistant') {
    throw new Error(`messages must end with a turn of the assistant, got ${brief(last)}`)
  }
  return { prompt: messages.slice(0, -1), completion: [last] }
}

function textOf(fields: Fields, name: string): Text {
  const value = fields[name]
  if (typeof value === 'string') return value
  if (value === undefined) {
    throw new Error(`${name} is missing; the row has ${Object.keys(fields).join(', ') || 'no fields'}`)
  }
  if (!Array.isArray(value)) throw new Error(`${name} must be a text or a list of messages, got ${brief(value)}`)
  for (const [i, message] of value.entries()) {
    if (typeof message?.role !== 'string' || !('content' in message)) {
      throw new Error(`${name}[${i}] must be a message {role, content}, got ${brief(message)}`)
    }
  }
  return value as Message[]
}

function labelOf({ label }: Fields): boolean {
  if (label === true || label === 1) return true
  if (label === false || label === 0) return false
  const got = label === undefined ? 'is missing' : `is ${brief(label)}`
  throw new Error(`label ${got}; expected true or 1 for thumbs up, false or 0 for thumbs down`)
}

function pairOf(fields: Fields): Row[] {
  const chosen = textOf(fields, 'chosen')
  const rejected = textOf(fields, 'rejected')
  if (typeof chosen !== typeof rejected)
    throw new Error('chosen and rejected must both be texts, or both lists of messages')
  const split =
    'prompt' in fields ? withPrompt(textOf(fields, 'prompt'), chosen, rejected) : sharedPrompt(chosen, rejected)
  return [
    { prompt: split.prompt, completion: split.chosen, label: true },
    { prompt: split.prompt, completion: split.rejected, label: false },
  ]
}

interface SplitPair {
  prompt: Text
  chosen: Text
  rejected: Text
}

/** Lists of messages may repeat the prompt that stands beside them. */
function withPrompt(prompt: Text, chosen: Text, rejected: Text): SplitPair {
  if (prompt.length === 0) throw new Error('prompt is empty')
  const completion = (text: Text): Text => {
    if (typeof text === 'string' || text.length < 2) return text
    const before = text.slice(0, -1)
    const same =
      typeof prompt === 'string' ? before.at(-1)?.content === prompt : JSON.stringify(before) === JSON.stringify(prompt)
    if (!same) throw new Error('chosen and rejected hold several messages which are not those of prompt')
    return text.slice(-1)
  }
  return { prompt, chosen: completion(chosen), rejected: completion(rejected) }
}

/** The prompt that both answers of a pair begin with. */
function sharedPrompt(chosen: Text, rejected: Text): SplitPair {
  if (typeof chosen === 'string') return sharedTranscript(chosen, rejected as string)
  const other = rejected as Message[]
  let shared = 0
  while (shared < chosen.length - 1 && JSON.stringify(chosen[shared]) === JSON.stringify(other[shared])) shared++
  if (shared === 0) throw new Error('chosen and rejected begin with different messages: no prompt is shared')
  return { prompt: chosen.slice(0, shared), chosen: chosen.slice(shared), rejected: other.slice(shared) }
}

const assistantTurn = '\n\nAssistant:'

/** Transcripts of Anthropic's HH data: the prompt is what both share, up to the last turn of the assistant that begins in it. */
function sharedTranscript(chosen: string, rejected: string): SplitPair {
  let shared = 0
  while (shared < chosen.length && chosen[shared] === rejected[shared]) shared++
  // Two answers may begin alike, but the turn that they are in begins before they part.
  const turn = chosen.slice(0, shared).lastIndexOf(assistantTurn)
  if (turn < 0) {
    throw new Error(
      "there is no prompt, and chosen and rejected share no '\\n\\nHuman: ... \\n\\nAssistant:' transcript; add a prompt",
    )
  }
  const end = turn + assistantTurn.length
  return { prompt: chosen.slice(0, end), chosen: chosen.slice(end), rejected: rejected.slice(end) }
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 60)}...` : text
}
