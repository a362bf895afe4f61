import { brief } from '../origin.ts'
import { conversationIn, type Judgement, judgedExchange } from './exchange.ts'
import { isObject } from './messages.ts'
import { type Fields, type ShapeContext, simpleShape } from './shape.ts'

/**
 * Langfuse: traces or observations with their scores, which stand in `scores` (API, downloads), in columns of the scores' names (tables exported from its
 * pages: `--score-name` names the column), or in a file of their own (exports to a blob storage).
 */
export const langfuse = simpleShape(
  'langfuse',
  '`input`, `output`, `scores` of {name, value}, or a column of the name of the score (Langfuse)',
  (fields) => isTrace(fields.trace) || isTrace(fields),
  (fields, context) => {
    const trace = isTrace(fields.trace) ? fields.trace : fields // a single trace's download has its observations beside it
    const prompt = conversationIn(trace.input, 'input', 'user')
    const reply = conversationIn(trace.output, 'output', 'assistant')
    const scores = scoresOf(trace, context)
    const judgement = chosenScore(scores, 'name', scoreValue, context)
    const correction = scores.map(correctedOutput).find((text) => text !== null)
    const time = trace.timestamp ?? trace.startTime ?? trace.start_time
    const input = isObject(trace.input) ? trace.input : {}
    const annotator = trace.userId ?? trace.user_id
    const extras = { tools: input.tools, ...trace, annotator: trace.annotator ?? annotator, time }
    return judgedExchange({ prompt, reply, judgement, correction: correction ?? null }, context, extras)
  },
)

function isTrace(value: unknown): value is Fields {
  if (!isObject(value) || !('input' in value) || !('output' in value)) return false
  const { scores } = value
  const marks = ['traceId', 'trace_id', 'bookmarked', 'observationCount']
  return Array.isArray(scores) || isObject(scores) || marks.some((mark) => mark in value)
}

function scoresOf(trace: Fields, { scoreName, judgements }: ShapeContext): readonly Fields[] {
  const { id, scores } = trace
  if (Array.isArray(scores) && scores.some(isObject)) return scores.filter(isObject)
  if (isObject(scores)) return namedValues(scores)
  const own = judgements.of(id)
  const joined = own.length === 0 && isOutermost(trace) ? judgements.of(trace.trace_id ?? trace.traceId) : own
  if (joined.length > 0) return joined
  if (Array.isArray(scores) && scores.length > 0)
    throw new Error(
      `scores holds ids, ${brief(scores)}, and no scores: give the file of the scores with --data too, or traces with their scores in them`,
    )
  const column = scoreName === undefined ? undefined : trace[scoreName]
  return column === undefined || column === null ? [] : namedValues({ [scoreName!]: written(column) })
}

/** What was said of a trace is said of what its outermost observation replied. */
function isOutermost(observation: Fields): boolean {
  const parent = observation.parent_observation_id ?? observation.parentObservationId
  return parent === undefined || parent === null || parent === ''
}

/** Scores as {"user-feedback": [1]} or {"user-feedback": 1}, as Langfuse's tables are exported. */
function namedValues(scores: Fields): Fields[] {
  return Object.entries(scores).flatMap(([name, value]) => [value].flat().map((one) => ({ name, value: one })))
}

/** In CSV a list is written as JSON. */
function written(value: unknown): unknown {
  if (typeof value !== 'string' || !/^\s*[[{]/.test(value)) return value === '' ? [] : value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

/** Categories stand in stringValue beside a numeric code. A free text is no judgement, nor is a corrected output. */
function scoreValue({ value, stringValue, string_value: snake, dataType, data_type: type }: Fields): unknown {
  const kind = dataType ?? type
  if (kind === 'TEXT' || kind === 'CORRECTION') return undefined
  return kind === 'CATEGORICAL' || value === undefined || value === null ? (stringValue ?? snake ?? value) : value
}

function correctedOutput({
  value,
  stringValue,
  string_value: snake,
  dataType,
  data_type: type,
}: Fields): string | null {
  if ((dataType ?? type) !== 'CORRECTION') return null
  return ([stringValue, snake, value].find((text) => typeof text === 'string') as string | undefined) ?? null
}

/** The score that judges: the one that `--score-name` names, or the only one. */
export function chosenScore(
  scores: readonly Fields[],
  key: string,
  valueIn: (score: Fields) => unknown,
  { scoreName }: ShapeContext,
): Judgement | undefined {
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

/** LangSmith: runs with their feedback, in them or in a file of its own. A correction is a better reply: a row of its own. */
export const langsmith = simpleShape(
  'langsmith',
  '`inputs`, `outputs`, `feedback` of {key, score, value, correction} or `feedback_stats` (LangSmith)',
  (fields) => 'inputs' in fields && 'outputs' in fields,
  (fields, context) => {
    const prompt = conversationIn(written(fields.inputs), 'inputs', 'user')
    const reply = conversationIn(written(fields.outputs), 'outputs', 'assistant')
    const feedback = feedbackOf(fields, context)
    const judgement = chosenScore(feedback, 'key', ({ score, value }) => score ?? value, context)
    const correction = feedback.map(({ correction }) => correctionText(correction)).find((text) => text !== null)
    const extras = { annotator: fields.user_id, ...fields, time: fields.start_time ?? fields.created_at }
    return judgedExchange({ prompt, reply, judgement, correction: correction ?? null }, context, extras)
  },
)

function feedbackOf({ id, feedback, feedback_stats: stats }: Fields, { judgements }: ShapeContext): readonly Fields[] {
  const given = written(feedback)
  if (Array.isArray(given)) return given.filter(isObject)
  const joined = judgements.of(id)
  return joined.length > 0 ? joined : statistics(written(stats))
}

/**
 * The mean of a run's feedback by key, where the feedback itself was not exported; of feedback in words the word, where all said the same. A mean
 * between thumbs is no thumb, and is refused.
 */
function statistics(stats: unknown): Fields[] {
  if (!isObject(stats)) return []
  return Object.entries(stats).flatMap(([key, value]): Fields[] => {
    if (!isObject(value) || !(Number(value.n) > 0)) return []
    if (value.avg !== null && value.avg !== undefined) return [{ key, score: value.avg }]
    return Object.keys(isObject(value.values) ? value.values : {}).map((word) => ({ key, value: word }))
  })
}

function correctionText(correction: unknown): string | null {
  if (typeof correction === 'string') return correction
  const messages = isObject(correction) ? conversationIn(correction, 'correction', 'assistant') : null
  return messages?.at(-1)?.content ?? null
}
