import { isDeepStrictEqual } from 'node:util'
import type { Message } from '../types.ts'
import { extrasOf, judged, labelOf, numberOf, promptOf, replyOf, textOf } from './fields.ts'
import { beforeAndReply } from './messages.ts'
import { type Fields, type Found, type Row, type ShapeContext, simpleShape, type Text } from './shape.ts'

/** {prompt, completion, label}, or {messages, label} whose last turn is judged. */
export const unpaired = simpleShape(
  'unpaired',
  '`prompt`, `completion`, `label`; or `messages`, `label`',
  (fields) => 'completion' in fields || 'messages' in fields || 'prompt' in fields,
  (fields, context) => {
    const texts = 'messages' in fields ? splitMessages(fields) : givenTexts(fields)
    return judged(labelOf(fields, context), { ...texts, ...extrasOf(fields, context) })
  },
  ({ label }) => [numberOf(label)].filter((score) => score !== null),
)

function givenTexts(fields: Fields): { prompt: Text; completion: Text } {
  const prompt = promptOf(fields)
  const completion = replyOf(fields, 'completion')
  if (typeof completion === 'string' || startsWithReply(completion)) return { prompt, completion }
  return withoutRepeatedPrompt(prompt, completion)
}

/** Completions of argilla's kto-mix are the whole conversation, beside the text of a user's turn in it. */
function withoutRepeatedPrompt(prompt: Text, completion: readonly Message[]) {
  const split = beforeAndReply(completion, 'completion')
  const repeated =
    typeof prompt === 'string'
      ? split.prompt.some(({ content }) => content === prompt)
      : isDeepStrictEqual(split.prompt, prompt)
  if (!repeated) throw new Error('completion begins with other messages than those of prompt')
  return split
}

function splitMessages(fields: Fields): { prompt: Message[]; completion: Message[] } {
  const messages = textOf(fields, 'messages')
  if (typeof messages === 'string') throw new Error('messages must be a list of {role, content}')
  return beforeAndReply(messages, 'messages')
}

/** {prompt?, chosen, rejected}: texts, messages, or Anthropic's HH transcripts. */
export const paired = simpleShape(
  'paired',
  '`chosen`, `rejected`, with `prompt` or holding it (messages, or HH transcripts)',
  (fields) => 'chosen' in fields || 'rejected' in fields,
  (fields, context) => ({ rows: pairOf(fields, context) }),
)

function pairOf(fields: Fields, context: ShapeContext): Row[] {
  const chosen = replyOf(fields, 'chosen')
  const rejected = replyOf(fields, 'rejected')
  if (typeof chosen !== typeof rejected)
    throw new Error('chosen and rejected must both be texts, or both lists of messages')
  const hasPrompt = fields.prompt !== undefined && fields.prompt !== null
  const split = hasPrompt ? withPrompt(textOf(fields, 'prompt'), chosen, rejected) : sharedPrompt(chosen, rejected)
  return bothSides(split.prompt, split.chosen, split.rejected, context, extrasOf(fields, context))
}

/** The two rows of a comparison, the better one first. */
export function bothSides(
  prompt: Text,
  chosen: Text,
  rejected: Text,
  context: ShapeContext,
  extras: Partial<Row> = {},
): Row[] {
  const pair = context.nextPair()
  return [
    { ...extras, prompt, completion: chosen, label: true, pair },
    { ...extras, prompt, completion: rejected, label: false, pair },
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

/** A record that gave nothing, and why. */
export function nothing(leftOut: string): Found {
  return { rows: [], leftOut }
}
