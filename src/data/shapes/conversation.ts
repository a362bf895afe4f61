import type { Message } from '../types.ts'
import { extrasOf, judgementIn, verdictOf } from './fields.ts'
import { beforeAndReply, isObject, messagesOf } from './messages.ts'
import { nothing } from './plain.ts'
import { type Fields, type Row, simpleShape } from './shape.ts'

const turnKeys = ['feedback', 'label', 'rating', 'thumbs', 'thumb', 'vote', 'isUpvoted', 'annotation']

/** The judgement on a single turn: in the message itself, in its metadata, or in Vercel's table of votes. */
function judgementOfTurn(message: unknown, votes: ReadonlyMap<string, unknown>) {
  if (!isObject(message)) return undefined
  for (const key of turnKeys) {
    const found = judgementIn(message[key], key)
    if (found) return found
  }
  const vote = votes.get(String(message.id))
  if (vote !== undefined) return { value: vote, field: 'isUpvoted' }
  return isObject(message.metadata) ? judgementIn(message.metadata, 'metadata') : undefined
}

function votesOf(fields: Fields): Map<string, unknown> {
  const votes = Array.isArray(fields.votes) ? fields.votes : Array.isArray(fields.feedback) ? fields.feedback : []
  return new Map(
    votes.filter(isObject).flatMap((vote) => {
      const id = vote.messageId ?? vote.message_id
      const judgement = judgementIn(vote, 'vote')
      return id === undefined || !judgement ? [] : [[String(id), judgement.value] as const]
    }),
  )
}

function isJudged(fields: Fields): boolean {
  if (!Array.isArray(fields.messages) || 'label' in fields) return false
  const votes = votesOf(fields)
  return (
    votes.size > 0 || fields.messages.some((message) => isUi(message) || judgementOfTurn(message, votes) !== undefined)
  )
}

function isUi(message: unknown): boolean {
  return isObject(message) && Array.isArray(message.parts)
}

/** Conversations with feedback on any turn of the assistant, among them Vercel's AI SDK: each judged turn is a row of its own. */
export const conversation = simpleShape(
  'conversation',
  '`messages` with `feedback` (or `label`, `rating`, `metadata.feedback`) on any turn of the assistant, or `votes` beside them (Vercel AI SDK)',
  isJudged,
  (fields, context) => {
    const raw = fields.messages as unknown[]
    const votes = votesOf(fields)
    const rows: Row[] = []
    let before: Message[] = []
    for (const [i, message] of raw.entries()) {
      const turn = messagesOf([message], `messages[${i}]`).map(withoutFeedback)
      const judgement = judgementOfTurn(message, votes)
      if (judgement && turn.at(-1)?.role === 'assistant') {
        const verdict = verdictOf(judgement.value, judgement.field, context)
        const split = beforeAndReply([...before, ...turn], `messages[${i}]`)
        const own = extrasOf(
          { ...fields, ...(isObject(message) ? { createdAt: message.createdAt ?? fields.createdAt } : {}) },
          context,
        )
        if (verdict !== 'skip') rows.push({ ...own, ...split, label: verdict })
      }
      before = [...before, ...turn]
    }
    return rows.length > 0 ? { rows } : nothing('no judgement')
  },
)

/** Feedback is no part of what the model sees. */
function withoutFeedback(message: Message): Message {
  if (!turnKeys.some((key) => key in message) && !('metadata' in message)) return message
  const entries = Object.entries(message).filter(([key]) => !turnKeys.includes(key) && key !== 'metadata')
  return Object.fromEntries(entries) as Message
}
