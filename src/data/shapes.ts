import { isDeepStrictEqual } from 'node:util'
import type { FeedbackRow, Message } from './types.ts'

type Row = Omit<FeedbackRow, 'origin'>
type Text = string | Message[]
type Fields = Record<string, unknown>

/**
 * The judged completions in one object of a file: one where it has a completion, two (desirable first) where it has a pair. Throws saying what
 * is wrong with it. Known: `{prompt, completion, label}`, `{messages, label}`, `{prompt?, chosen, rejected}`, each with a `weight` where it has one; texts are strings or chat messages.
 */
export function rowsOf(value: unknown, needLabels: boolean): Row[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error(`expected an object, got ${brief(value)}`)
  }
  const fields = value as Fields
  if ('chosen' in fields || 'rejected' in fields) return pairOf(fields)
  const { prompt, completion } = 'messages' in fields ? splitMessages(fields) : givenTexts(fields)
  const label = needLabels || fields.label !== undefined ? labelOf(fields) : true
  return [{ prompt, completion, label, ...weightOf(fields) }]
}

/** A row's own weight, which need not be given. */
function weightOf({ weight }: Fields): { weight?: number } {
  if (weight === undefined || weight === null) return {}
  if (typeof weight === 'number' && Number.isFinite(weight) && weight >= 0) return { weight }
  throw new Error(`weight is ${brief(weight)}; expected a number that is not negative`)
}

function givenTexts(fields: Fields): { prompt: Text; completion: Text } {
  const prompt = textOf(fields, 'prompt')
  if (prompt.length === 0) throw new Error('prompt is empty')
  return { prompt, completion: replyOf(fields, 'completion') }
}

/** A conversation whose last turn, the assistant's, is judged. */
function splitMessages(fields: Fields): { prompt: Message[]; completion: Message[] } {
  const messages = replyOf(fields, 'messages')
  if (typeof messages === 'string') throw new Error('messages must be a list of {role, content}')
  if (messages.length < 2) throw new Error('messages has one turn: it must have a prompt before the reply')
  return { prompt: messages.slice(0, -1), completion: messages.slice(-1) }
}

/** A text, or messages of which the last is the assistant's. */
function replyOf(fields: Fields, name: string): Text {
  const text = textOf(fields, name)
  if (typeof text === 'string' || text.at(-1)?.role === 'assistant') return text
  throw new Error(`${name} must end with a turn of the assistant, got ${brief(text.at(-1) ?? text)}`)
}

function textOf(fields: Fields, name: string): Text {
  const value = fields[name]
  if (typeof value === 'string') return value
  if (value === undefined) {
    throw new Error(`${name} is missing; the row has ${Object.keys(fields).join(', ') || 'no fields'}`)
  }
  if (!Array.isArray(value)) throw new Error(`${name} must be a text or a list of messages, got ${brief(value)}`)
  for (const [i, message] of value.entries()) {
    const hasContent = typeof message?.content === 'string' || (message?.content == null && message?.tool_calls)
    if (typeof message?.role !== 'string' || !hasContent) {
      throw new Error(`${name}[${i}] must be a message {role, content} whose content is a text, got ${brief(message)}`)
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
  const chosen = replyOf(fields, 'chosen')
  const rejected = replyOf(fields, 'rejected')
  if (typeof chosen !== typeof rejected)
    throw new Error('chosen and rejected must both be texts, or both lists of messages')
  const split =
    'prompt' in fields ? withPrompt(textOf(fields, 'prompt'), chosen, rejected) : sharedPrompt(chosen, rejected)
  const both = { prompt: split.prompt, paired: true, ...weightOf(fields) }
  return [
    { ...both, completion: split.chosen, label: true },
    { ...both, completion: split.rejected, label: false },
  ]
}

interface SplitPair {
  prompt: Text
  chosen: Text
  rejected: Text
}

/**
 * Answers that are lists of messages may repeat the prompt beside them. Where that is only the text of the user's last turn, the messages
 * that both begin with are the prompt.
 */
function withPrompt(prompt: Text, chosen: Text, rejected: Text): SplitPair {
  if (prompt.length === 0) throw new Error('prompt is empty')
  if (typeof chosen === 'string' || (startsWithReply(chosen) && startsWithReply(rejected as Message[])))
    return { prompt, chosen, rejected }
  const length = typeof prompt === 'string' ? sharedTurns(chosen, rejected as Message[]) : prompt.length
  const split = splitAt(length, chosen, rejected as Message[])
  const repeated = typeof prompt === 'string' ? split.prompt.at(-1)?.content : split.prompt
  if (!isDeepStrictEqual(repeated, prompt) || !isDeepStrictEqual(split.prompt, rejected.slice(0, length)))
    throw new Error('chosen and rejected begin with other messages than those of prompt')
  return split
}

/** The prompt that both answers of a pair begin with. */
function sharedPrompt(chosen: Text, rejected: Text): SplitPair {
  if (typeof chosen === 'string') return sharedTranscript(chosen, rejected as string)
  const length = sharedTurns(chosen, rejected as Message[])
  if (length === 0) throw new Error('chosen and rejected share no messages before a reply: there is no prompt')
  return splitAt(length, chosen, rejected as Message[])
}

/** How many messages both begin with, up to the last reply that begins in them. */
function sharedTurns(chosen: readonly Message[], rejected: readonly Message[]): number {
  let shared = 0
  const most = Math.min(chosen.length, rejected.length) - 1
  while (shared < most && isDeepStrictEqual(chosen[shared], rejected[shared])) shared++
  const bothReply = () => startsWithReply(chosen.slice(shared)) && startsWithReply(rejected.slice(shared))
  while (shared > 0 && !bothReply()) shared--
  return shared
}

function splitAt(length: number, chosen: Message[], rejected: Message[]) {
  return { prompt: chosen.slice(0, length), chosen: chosen.slice(length), rejected: rejected.slice(length) }
}

function startsWithReply(messages: readonly Message[]): boolean {
  return messages[0]?.role === 'assistant'
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
