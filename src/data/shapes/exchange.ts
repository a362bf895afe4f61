import type { Message } from '../types.ts'
import { extrasOf, verdictOf } from './fields.ts'
import { beforeAndReply, isObject, messagesOf } from './messages.ts'
import { bothSides, nothing } from './plain.ts'
import type { Fields, Found, ShapeContext } from './shape.ts'

/** A judgement, and the name of what said it. */
export interface Judgement {
  value: unknown
  field: string
}

const holders = [
  'messages',
  'message',
  'choices',
  'generations',
  'input',
  'question',
  'prompt',
  'query',
  'output',
  'answer',
  'response',
  'completion',
  'content',
  'text',
  'result',
]

/** The messages of a value that is a text, a message, a list of messages, or an object that holds one of them. */
export function conversationIn(value: unknown, name: string, role: 'user' | 'assistant'): Message[] | null {
  if (typeof value === 'string') {
    const written = writtenMessages(value)
    return written === null ? [{ role, content: value }] : conversationIn(written, name, role)
  }
  if (Array.isArray(value)) return value.length > 0 ? nested(value, name) : null
  if (!isObject(value)) return null
  if (typeof value.role === 'string' || Array.isArray(value.parts) || Array.isArray(value.id))
    return messagesOf([value], name)
  for (const key of holders) {
    if (value[key] === undefined || value[key] === null) continue
    const found = conversationIn(value[key], `${name}.${key}`, role)
    if (found) return found
  }
  return null
}

/** Tables are exported with their messages as JSON in a text. Only what plainly is messages is taken for more than a text: replies may be JSON. */
function writtenMessages(text: string): unknown {
  if (!/^\s*[[{]/.test(text)) return null
  try {
    const value: unknown = JSON.parse(text)
    const first = Array.isArray(value) ? value.flat()[0] : value
    const isMessage = isObject(first) && typeof first.role === 'string' && ('content' in first || 'parts' in first)
    const isHolder = isObject(value) && ['messages', 'choices', 'generations'].some((key) => Array.isArray(value[key]))
    return isMessage || isHolder ? value : null
  } catch {
    return null
  }
}

/** A list of messages; OpenAI's choices and LangChain's generations are lists of what holds one message, the first of which was shown. */
function nested(value: readonly unknown[], name: string): Message[] {
  const [first] = value
  if (Array.isArray(first)) return nested(first, `${name}[0]`)
  if (isObject(first) && isObject(first.message)) return messagesOf([first.message], `${name}[0].message`)
  if (isObject(first) && typeof first.text === 'string' && first.role === undefined && first.type === undefined)
    return [{ role: 'assistant', content: first.text }]
  return messagesOf(value, name)
}

/** What was sent to a model, what it replied, what was thought of that, and what it should have said. */
export interface Exchange {
  prompt: Message[] | null
  reply: Message[] | null
  judgement: Judgement | undefined
  /** A better reply: desirable, as the model's own is not, whatever the judgement. */
  correction?: string | null
}

/** The row of one logged call, two where it was corrected, or why it gives none. */
export function judgedExchange(
  { prompt, reply, judgement, correction }: Exchange,
  context: ShapeContext,
  fields: Fields,
): Found {
  const corrected = correction !== undefined && correction !== null
  if (!judgement && !corrected && context.needLabels) return nothing('no judgement')
  if (!prompt || prompt.length === 0) throw new Error('what was sent to the model is missing')
  if (!reply || reply.length === 0) throw new Error('the reply is missing')
  const extras = extrasOf(fields, context)
  // Agents log the whole conversation as their output: what they were sent is not the reply.
  const repeats = reply.length > prompt.length && prompt.every(({ content }, i) => reply[i]!.content === content)
  const split = beforeAndReply(repeats ? reply : [...prompt, ...reply], 'the conversation')
  if (corrected) {
    const better = [{ role: 'assistant', content: correction }]
    return { rows: bothSides(split.prompt, better, split.completion, context, extras) }
  }
  const verdict = judgement ? verdictOf(judgement.value, judgement.field, context) : true
  return verdict === 'skip' ? nothing('no opinion') : { rows: [{ ...split, label: verdict, ...extras }] }
}
