import { brief } from '../origin.ts'
import { chatgpt } from './chatgpt.ts'
import { conversation } from './conversation.ts'
import { edits, regenerations } from './edits.ts'
import { halos } from './halos.ts'
import { judgements } from './judgements.ts'
import { isObject } from './messages.ts'
import { openaiEval, openaiLog, openaiPreference } from './openai.ts'
import { paired, unpaired } from './plain.ts'
import { ranked, scored, shp, ultrafeedback } from './ranked.ts'
import type { Fields, Shape } from './shape.ts'
import { langfuse, langsmith } from './traces.ts'
import { oasstMessages, oasstTrees } from './trees.ts'

/** All shapes, those with the more telling fields first: a record has the first shape that matches. */
export const shapes: readonly Shape[] = [
  oasstTrees,
  oasstMessages,
  shp,
  halos,
  ultrafeedback,
  openaiPreference,
  openaiEval,
  paired,
  langsmith,
  langfuse,
  chatgpt,
  judgements,
  openaiLog,
  conversation,
  edits,
  regenerations,
  ranked,
  scored,
  unpaired,
]

/** The shape of a record. Throws listing its fields where it has none that is known. */
export function shapeOf(fields: Fields): Shape {
  const shape = shapes.find((candidate) => candidate.matches(fields))
  if (shape) return shape
  throw new Error(
    `no known shape; the row has ${Object.keys(fields).join(', ') || 'no fields'}. Name its columns with --map, for example --map prompt=question,completion=answer,label=thumb`,
  )
}

/** The fields of a record. Throws where it is no object. */
export function fieldsOf(value: unknown): Fields {
  if (isObject(value)) return value
  throw new Error(`expected an object, got ${brief(value)}`)
}
