import { brief } from '../origin.ts'
import type { Message } from '../types.ts'
import { extrasOf, judgementIn, verdictOf } from './fields.ts'
import { beforeAndReply, isObject } from './messages.ts'
import { nothing } from './plain.ts'
import { type Fields, type Row, type ShapeContext, simpleShape } from './shape.ts'

/**
 * A conversation of ChatGPT's export (conversations.json): `mapping` is a tree of messages, with a branch for every edit and regeneration. Each
 * judged reply is a row; its prompt is the way from the root to it. Feedback stands in the message (`feedback`, `rating`, or in its
 * `metadata`), in `message_feedback` beside the mapping, or in the export's message_feedback.json, which is then given with --data too.
 */
export const chatgpt = simpleShape(
  'chatgpt',
  "`mapping` (ChatGPT's export), with `feedback` or `rating` in messages, or `message_feedback` beside",
  (fields) => isObject(fields.mapping),
  (fields, context) => {
    const nodes = fields.mapping as Fields
    const ratings = ratingsOf(fields)
    const rows: Row[] = []
    for (const [id, node] of Object.entries(nodes)) {
      const message = messageIn(node)
      if (!message || roleOf(message) !== 'assistant') continue
      const judgement =
        judgementOf(message) ??
        ratings.get(String(message.id ?? id)) ??
        ratings.get(id) ??
        joined(message.id ?? id, context)
      if (!judgement) continue
      const verdict = verdictOf(judgement.value, judgement.field, context)
      if (verdict === 'skip') continue
      const split = beforeAndReply(pathTo(id, nodes), `mapping.${id}`)
      const time = message.create_time ?? fields.create_time
      rows.push({ ...extrasOf({ ...fields, time }, context), ...split, label: verdict })
    }
    return rows.length > 0 ? { rows } : nothing('no judgement')
  },
)

function messageIn(node: unknown): Fields | null {
  return isObject(node) && isObject(node.message) ? node.message : null
}

function roleOf({ author }: Fields): string {
  return isObject(author) ? String(author.role) : ''
}

function judgementOf(message: Fields) {
  const { feedback, rating, label, metadata } = message
  return (
    judgementIn({ label, feedback, rating }, 'feedback') ??
    (isObject(metadata)
      ? judgementIn({ feedback: metadata.feedback, rating: metadata.rating }, 'metadata.feedback')
      : undefined)
  )
}

/** What message_feedback.json says of a message; where it was judged more than once, the last time. */
function joined(id: unknown, { judgements }: ShapeContext) {
  return judgementIn(judgements.of(id).at(-1), 'message_feedback')
}

/** Ratings by the id of the message that they judge. */
function ratingsOf({ message_feedback: beside, feedback }: Fields): Map<string, { value: unknown; field: string }> {
  const list = [beside, feedback].find(Array.isArray) as unknown[] | undefined
  return new Map(
    (list ?? []).filter(isObject).flatMap((entry) => {
      const id = entry.message_id ?? entry.messageId ?? entry.id
      const judgement = judgementIn(entry, 'message_feedback')
      return id === undefined || !judgement ? [] : [[String(id), judgement] as const]
    }),
  )
}

/** The messages from the root to a node that the model saw: neither empty system turns nor those that the export hides. */
function pathTo(id: string, nodes: Fields): Message[] {
  const path: Message[] = []
  const seen = new Set<string>()
  for (let at: string | null = id; at !== null; ) {
    const node: unknown = nodes[at]
    if (!isObject(node)) throw new Error(`mapping has no node ${brief(at)}, the parent of another`)
    if (seen.has(at)) throw new Error(`mapping goes round in a circle at ${brief(at)}`)
    seen.add(at)
    const message = messageIn(node)
    if (message) path.unshift(...turnOf(message, at))
    at = typeof node.parent === 'string' ? node.parent : null
  }
  return path
}

function turnOf(message: Fields, id: string): Message[] {
  const role = roleOf(message)
  const { metadata } = message
  if (isObject(metadata) && metadata.is_visually_hidden_from_conversation === true) return []
  const content = isObject(message.content) ? message.content : {}
  const parts = Array.isArray(content.parts) ? content.parts : [content.text ?? '']
  const odd = parts.find((part) => typeof part !== 'string' && !(isObject(part) && typeof part.text === 'string'))
  if (odd !== undefined)
    throw new Error(`mapping.${id} holds ${brief(odd)}, which is no text; leave such rows out with --on-bad-row skip`)
  const text = parts.map((part) => (isObject(part) ? String(part.text) : String(part))).join('\n')
  return role === 'system' && text === '' ? [] : [{ role, content: text }]
}
