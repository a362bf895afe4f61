import { brief } from '../origin.ts'
import type { Message } from '../types.ts'
import { conversationIn, type Judgement, judgedExchange } from './exchange.ts'
import { extrasOf, judgementIn } from './fields.ts'
import { isObject, messagesOf } from './messages.ts'
import { bothSides, nothing } from './plain.ts'
import { type Fields, type ShapeContext, simpleShape } from './shape.ts'
import { chosenScore } from './traces.ts'

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

/** Calls of OpenAI's chat or responses API as they were logged: what was sent, what came back, and what the user thought of it. */
export const openaiLog = simpleShape(
  'openai-log',
  '`request.messages` or `request.input` (or `messages`), `response.choices` or `response.output` (or `choices`), and a thumb in `feedback`, `label` or `metadata` (OpenAI)',
  (fields) =>
    isObject(fields.request) ||
    Array.isArray(fields.choices) ||
    (isObject(fields.response) && ('choices' in fields.response || 'output' in fields.response)),
  (fields, context) => {
    const request = isObject(fields.request) ? fields.request : fields
    const sent = request.messages ?? request.input
    if (sent === undefined)
      throw new Error('the messages that were sent are missing: expected request.messages or messages')
    const instructions = typeof request.instructions === 'string' ? request.instructions : ''
    const system = instructions === '' ? [] : [{ role: 'system', content: instructions }]
    const turns = conversationIn(sent, 'request.messages', 'user')
    const reply = conversationIn(
      isObject(fields.response) ? fields.response : { choices: fields.choices },
      'response',
      'assistant',
    )
    const tools = request.tools
    const prompt = turns && [...system, ...turns]
    return judgedExchange({ prompt, reply, judgement: judgementBeside(fields) }, context, { ...fields, tools })
  },
)

function judgementBeside(fields: Fields) {
  const { label, feedback, rating, thumbs, metadata } = fields
  return (
    judgementIn({ label, thumbs, feedback, rating }, 'label') ??
    (isObject(metadata) ? judgementIn(metadata, 'metadata') : undefined)
  )
}

/** Output items of OpenAI's evaluation runs: a sample with what its graders say. An item that failed was judged by none. */
export const openaiEval = simpleShape(
  'openai-eval',
  '`sample.input`, `sample.output`, `results` of {name, passed, score} (OpenAI evaluation runs)',
  ({ sample, results }) => isObject(sample) && Array.isArray(results),
  (fields, context) => {
    if (fields.status === 'error' || fields.status === 'errored') return nothing('the run had an error')
    const { input, output } = fields.sample as Fields
    const prompt = conversationIn(input, 'sample.input', 'user')
    const reply = conversationIn(output, 'sample.output', 'assistant')
    const judgement = graded(fields.results as unknown[], context)
    return judgedExchange({ prompt, reply, judgement }, context, fields)
  },
)

/** Passed or not; the score where the user gave a threshold for scores. */
function graded(results: readonly unknown[], context: ShapeContext): Judgement | undefined {
  const value = ({ passed, score }: Fields) => (context.threshold ? (score ?? passed) : (passed ?? score))
  return chosenScore(results.filter(isObject), 'name', value, context)
}
