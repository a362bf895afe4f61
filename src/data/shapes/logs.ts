import { brief } from '../origin.ts'
import type { Message } from '../types.ts'
import { conversationIn, extrasOf, judgementIn, verdictOf } from './fields.ts'
import { beforeAndReply, isObject, messagesOf } from './messages.ts'
import { bothSides, nothing } from './plain.ts'
import { type Fields, type Found, type Row, type ShapeContext, simpleShape } from './shape.ts'

/** OpenAI's preference format: {input: {messages, tools}, preferred_output, non_preferred_output}. */
export const openaiPreference = simpleShape(
  'openai-preference',
  '`input.messages`, `preferred_output`, `non_preferred_output` (OpenAI)',
  (fields) => 'preferred_output' in fields && 'non_preferred_output' in fields,
  (fields, context) => {
    const input = isObject(fields.input) ? fields.input : {}
    const prompt = listOf(input.messages, 'input.messages')
    const chosen = listOf(fields.preferred_output, 'preferred_output')
    const rejected = listOf(fields.non_preferred_output, 'non_preferred_output')
    return bothSides(prompt, chosen, rejected, context, extrasOf({ tools: input.tools, ...fields }, context))
  },
)

function listOf(value: unknown, name: string): Message[] {
  if (!Array.isArray(value) || value.length === 0)
    throw new Error(`${name} must be a list of messages, got ${brief(value)}`)
  return messagesOf(value, name)
}

/** Calls of OpenAI's chat API as they were logged: what was sent, what came back, and what the user thought of it. */
export const openaiLog = simpleShape(
  'openai-log',
  '`request.messages` (or `messages`), `response.choices` (or `choices`), and a thumb in `feedback`, `label` or `metadata` (OpenAI)',
  (fields) =>
    isObject(fields.request) ||
    Array.isArray(fields.choices) ||
    (isObject(fields.response) && 'choices' in fields.response),
  (fields, context) => {
    const request = isObject(fields.request) ? fields.request : fields
    const sent = request.messages ?? request.input
    if (sent === undefined)
      throw new Error('the messages that were sent are missing: expected request.messages or messages')
    const prompt = conversationIn(sent, 'request.messages', 'user')
    const reply = conversationIn(
      isObject(fields.response) ? fields.response : { choices: fields.choices },
      'response',
      'assistant',
    )
    const tools = request.tools
    return oneReply(prompt, reply, judgementBeside(fields), context, { ...fields, tools })
  },
)

function judgementBeside(fields: Fields) {
  const { label, feedback, rating, thumbs, metadata } = fields
  return (
    judgementIn({ label, thumbs, feedback, rating }, 'label') ??
    (isObject(metadata) ? judgementIn(metadata, 'metadata') : undefined)
  )
}

/** The row of one logged call, or why it gives none. */
function oneReply(
  prompt: Message[] | null,
  reply: Message[] | null,
  judgement: { value: unknown; field: string } | undefined,
  context: ShapeContext,
  fields: Fields,
): Found {
  if (!judgement && context.needLabels) return nothing('no judgement')
  if (!prompt || prompt.length === 0) throw new Error('what was sent to the model is missing')
  if (!reply || reply.length === 0) throw new Error('the reply is missing')
  const verdict = judgement ? verdictOf(judgement.value, judgement.field, context) : true
  if (verdict === 'skip') return nothing('no opinion')
  // Agents log the whole conversation as their output: what they were sent is not the reply.
  const repeats = reply.length > prompt.length && prompt.every(({ content }, i) => reply[i]!.content === content)
  const split = beforeAndReply(repeats ? reply : [...prompt, ...reply], 'the conversation')
  return { rows: [{ ...split, label: verdict, ...extrasOf(fields, context) }] }
}

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

/** Langfuse: traces or observations with their scores. */
export const langfuse = simpleShape(
  'langfuse',
  '`input`, `output`, `scores` of {name, value} (Langfuse)',
  (fields) => 'input' in fields && 'output' in fields && (Array.isArray(fields.scores) || isObject(fields.scores)),
  (fields, context) => {
    const prompt = conversationIn(fields.input, 'input', 'user')
    const reply = conversationIn(fields.output, 'output', 'assistant')
    const scores = Array.isArray(fields.scores) ? fields.scores.filter(isObject) : namedValues(fields.scores as Fields)
    const judgement = chosenScore(scores, 'name', scoreValue, context)
    const time = fields.timestamp ?? fields.startTime ?? fields.start_time
    const input = isObject(fields.input) ? fields.input : {}
    return oneReply(prompt, reply, judgement, context, {
      annotator: fields.userId,
      tools: input.tools,
      ...fields,
      time,
    })
  },
)

/** Scores as {"user-feedback": [1]} or {"user-feedback": 1}, as Langfuse's tables are exported. */
function namedValues(scores: Fields): Fields[] {
  return Object.entries(scores).flatMap(([name, value]) => [value].flat().map((one) => ({ name, value: one })))
}

/** Categories stand in stringValue beside a numeric code. */
function scoreValue({ value, stringValue, string_value: snake, dataType, data_type: type }: Fields): unknown {
  const kind = dataType ?? type
  return kind === 'CATEGORICAL' || value === undefined || value === null ? (stringValue ?? snake ?? value) : value
}

/** The score that judges: the one that `--score-name` names, or the only one. */
function chosenScore(
  scores: readonly Fields[],
  key: string,
  valueIn: (score: Fields) => unknown,
  { scoreName }: ShapeContext,
) {
  const withValue = scores.filter((score) => valueIn(score) !== undefined && valueIn(score) !== null)
  const named = scoreName === undefined ? withValue : withValue.filter((score) => score[key] === scoreName)
  const names = [...new Set(named.map((score) => String(score[key])))]
  if (names.length > 1)
    throw new Error(
      `there are scores of several names: ${names.join(', ')}; say which one judges with --score-name ${names[0]}`,
    )
  const values = [...new Set(named.map(valueIn))]
  if (values.length > 1)
    throw new Error(`the scores ${names[0]} contradict each other: ${values.map(brief).join(', ')}`)
  return values.length === 0 ? undefined : { value: values[0], field: names[0]! }
}

/** LangSmith: runs with their feedback. A correction is a better reply: a row of its own. */
export const langsmith = simpleShape(
  'langsmith',
  '`inputs`, `outputs`, `feedback` of {key, score, value, correction} or `feedback_stats` (LangSmith)',
  (fields) => 'inputs' in fields && 'outputs' in fields,
  (fields, context) => {
    const prompt = conversationIn(fields.inputs, 'inputs', 'user')
    const reply = conversationIn(fields.outputs, 'outputs', 'assistant')
    const feedback = Array.isArray(fields.feedback)
      ? fields.feedback.filter(isObject)
      : statistics(fields.feedback_stats)
    const judgement = chosenScore(feedback, 'key', ({ score, value }) => score ?? value, context)
    const extras = { annotator: fields.user_id, ...fields, time: fields.start_time ?? fields.created_at }
    const correction = feedback.map(({ correction }) => correctionText(correction)).find((text) => text !== null)
    if (correction === undefined) return oneReply(prompt, reply, judgement, context, extras)
    if (!prompt || !reply) throw new Error('inputs or outputs hold no messages')
    return bothSides(
      prompt,
      [{ role: 'assistant', content: correction! }],
      reply.slice(-1),
      context,
      extrasOf(extras, context),
    )
  },
)

/** The mean of a run's feedback by key, where the feedback itself was not exported. A mean between thumbs is no thumb, and is refused. */
function statistics(stats: unknown): Fields[] {
  if (!isObject(stats)) return []
  return Object.entries(stats).flatMap(([key, value]) =>
    isObject(value) && Number(value.n) > 0 ? [{ key, score: value.avg }] : [],
  )
}

function correctionText(correction: unknown): string | null {
  if (typeof correction === 'string') return correction
  const messages = isObject(correction) ? conversationIn(correction, 'correction', 'assistant') : null
  return messages?.at(-1)?.content ?? null
}
