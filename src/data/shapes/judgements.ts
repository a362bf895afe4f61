import { isObject } from './messages.ts'
import { nothing } from './plain.ts'
import { type Fields, simpleShape } from './shape.ts'

/**
 * Judgements that stand in files of their own, by the id of what they judge: Langfuse's scores, LangSmith's feedback, ChatGPT's
 * message_feedback.json. They are read before the records that they belong to.
 */
export class Judgements {
  readonly #byId = new Map<string, { fields: Fields; file: number }[]>()
  readonly #used = new Set<string>()
  #file = 0

  /** What is added from now on stands in this file, by its number. */
  begin(file: number): void {
    this.#file = file
  }

  add(id: string, fields: Fields): void {
    const entry = { fields, file: this.#file }
    const before = this.#byId.get(id)
    if (before) before.push(entry)
    else this.#byId.set(id, [entry])
  }

  /** What was said of the record with this id. */
  of(id: unknown): readonly Fields[] {
    const found = typeof id === 'string' ? this.#byId.get(id) : undefined
    if (found) this.#used.add(id as string)
    return (found ?? []).map(({ fields }) => fields)
  }

  /** How many judgements in a file are of nothing that was read. */
  unused(file: number): number {
    let count = 0
    for (const [id, list] of this.#byId)
      if (!this.#used.has(id)) count += list.filter((entry) => entry.file === file).length
    return count
  }
}

/** A record that has one of these holds what is judged. */
const texts = [
  ...['prompt', 'completion', 'chosen', 'messages', 'mapping', 'history', 'instruction'],
  ...['input', 'output', 'inputs', 'outputs', 'request', 'response', 'question', 'answer', 'text'],
]

/** The id of what a record judges, where it is nothing but a judgement. */
function judgedId(fields: Fields): string | null {
  const { trace_id, traceId, observation_id, observationId, run_id: run, conversation_id: conversation } = fields
  const has = (...keys: string[]) => keys.some((key) => key in fields)
  if (has(...texts)) return null
  if ('name' in fields && 'value' in fields && has('data_type', 'dataType', 'source'))
    return textIn(observation_id, observationId, trace_id, traceId)
  if ('key' in fields && has('score', 'value', 'correction')) return textIn(run)
  if ('rating' in fields && conversation !== undefined) return textIn(fields.message_id, fields.id)
  return null
}

function textIn(...values: readonly unknown[]): string | null {
  return (values.find((value) => typeof value === 'string' && value !== '') as string | undefined) ?? null
}

export const judgementReason = 'a judgement of a record in another file'

/** Judgements without what they judge. Their file is read before the others, and gives no rows itself. */
export const judgements = simpleShape(
  'judgements',
  "a file of judgements beside the file of what they judge: Langfuse's scores (`trace_id`, `name`, `value`), LangSmith's feedback (`run_id`, `key`, `score`), ChatGPT's message_feedback.json",
  (fields) => judgedId(fields) !== null,
  (fields, { judgements }) => {
    const id = judgedId(fields)
    if (id === null)
      throw new Error('the id of what is judged is missing: trace_id, observation_id, run_id or message_id')
    judgements.add(id, fields)
    return nothing(judgementReason)
  },
)

/** Whether a file's first record is a judgement of something in another file. */
export function isJudgement(value: unknown): boolean {
  return isObject(value) && judgedId(value) !== null
}
