import { keyOf, type Verdict } from '../labels.ts'
import { brief } from '../origin.ts'
import { isObject, messagesOf } from './messages.ts'
import type { Fields, Found, Row, ShapeContext, Text } from './shape.ts'

/** A text or a list of messages. In CSV a list is written as JSON. */
export function textOf(fields: Fields, name: string): Text {
  const value = fields[name]
  if (typeof value === 'string') return looksLikeMessages(value) ? textOf({ [name]: JSON.parse(value) }, name) : value
  if (value === undefined || value === null) {
    throw new Error(`${name} is missing; the row has ${Object.keys(fields).join(', ') || 'no fields'}`)
  }
  if (!Array.isArray(value)) throw new Error(`${name} must be a text or a list of messages, got ${brief(value)}`)
  return messagesOf(value, name)
}

function looksLikeMessages(text: string): boolean {
  if (!/^\s*\[\s*\{\s*"(role|content|parts)"/.test(text)) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

export function promptOf(fields: Fields, name = 'prompt'): Text {
  const prompt = textOf(fields, name)
  if (prompt.length === 0) throw new Error(`${name} is empty`)
  return prompt
}

/** A text, or messages of which the last is the assistant's. */
export function replyOf(fields: Fields, name: string): Text {
  const text = textOf(fields, name)
  if (typeof text === 'string' || text.at(-1)?.role === 'assistant') return text
  throw new Error(`${name} must end with a turn of the assistant, got ${brief(text.at(-1) ?? text)}`)
}

/** A score as a number; texts of CSV too. Null where it is none. */
export function numberOf(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (typeof value !== 'string' || value.trim() === '') return null
  const number = Number(value)
  return Number.isFinite(number) ? number : null
}

/** What a judgement says: a score by the user's threshold where there is one, all else as a label. */
export function verdictOf(value: unknown, field: string, { labels, threshold }: ShapeContext): Verdict {
  const score = threshold && typeof value !== 'boolean' ? numberOf(value) : null
  return score === null ? labels.of(value, field) : threshold!(score)
}

/** The label of a row; true where none is needed and none is given. */
export function labelOf(fields: Fields, context: ShapeContext): Verdict {
  const { label } = fields
  if (!context.needLabels && (label === undefined || label === null || label === '')) return true
  return verdictOf(label, 'label', context)
}

const judgementKeys = [
  'label',
  'thumbs',
  'thumb',
  'feedback',
  'rating',
  'vote',
  'isUpvoted',
  'is_upvoted',
  'score',
  'value',
]

/** The judgement inside of a feedback object, however deep, with the name it stands under; undefined where there is none. */
export function judgementIn(value: unknown, name: string, depth = 0): { value: unknown; field: string } | undefined {
  if (value === undefined || value === null) return undefined
  if (!isObject(value)) return Array.isArray(value) ? undefined : { value, field: name }
  if (depth > 2) return undefined
  for (const key of judgementKeys) {
    const found = judgementIn(value[key], key, depth + 1)
    if (found) return found
  }
  return undefined
}

/** One row by its verdict; none, and why, where the verdict is no opinion. */
export function judged(verdict: Verdict, row: Omit<Row, 'label'>): Found {
  return verdict === 'skip' ? { rows: [], leftOut: 'no opinion' } : { rows: [{ ...row, label: verdict }] }
}

/** What any shape may say beside its texts: weight, annotator, time, tools, the column of the split. Throws for a weight that is none. */
export function extrasOf(fields: Fields, { groupColumn }: ShapeContext): Partial<Row> {
  const extras: Partial<Row> = {}
  const { weight, annotator, tools } = fields
  if (weight !== undefined && weight !== null && weight !== '') extras.weight = weightOf(weight)
  if (annotator !== undefined && annotator !== null && annotator !== '') extras.annotator = String(annotator)
  const time = timeOf(fields.time ?? fields.timestamp ?? fields.created_at ?? fields.createdAt)
  if (time !== null) extras.time = time
  const list = typeof tools === 'string' && tools.startsWith('[') ? parsedList(tools) : tools
  if (Array.isArray(list) && list.length > 0) extras.tools = list
  const group = groupColumn === undefined ? undefined : fields[groupColumn]
  if (group !== undefined && group !== null) extras.group = keyOf(group) ?? JSON.stringify(group)
  return extras
}

function parsedList(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`tools is no JSON: ${(error as Error).message}`)
  }
}

function weightOf(value: unknown): number {
  const weight = numberOf(value)
  if (weight === null || weight < 0)
    throw new Error(`weight is ${brief(value)}; expected a number that is not negative`)
  return weight
}

/** Milliseconds since 1970 of an ISO date, or of a number of seconds or milliseconds. */
export function timeOf(value: unknown): number | null {
  const number = numberOf(value)
  if (number !== null) return number > 1e11 ? number : number * 1000
  if (typeof value !== 'string') return null
  const time = Date.parse(
    /\d\d:\d\d/.test(value) && !/([zZ]|[+-]\d\d:?\d\d)$/.test(value) ? `${value.replace(' ', 'T')}Z` : value,
  )
  return Number.isNaN(time) ? null : time
}
