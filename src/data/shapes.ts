import { Labels } from './labels.ts'
import { fieldsOf, shapeOf } from './shapes/index.ts'
import { Judgements } from './shapes/judgements.ts'
import type { Row } from './shapes/shape.ts'

/** The judged completions in one object, by the shape it has. Throws saying what is wrong with it. */
export function rowsOf(value: unknown, needLabels: boolean): Row[] {
  let pairs = 0
  const context = {
    labels: new Labels(),
    needLabels,
    threshold: null,
    ranked: 'best-worst',
    minScoreRatio: 2,
    maxPairsPerPrompt: 5,
    judgements: new Judgements(),
    nextPair: () => pairs++,
  } as const
  const fields = fieldsOf(value)
  const reader = shapeOf(fields).reader(context)
  return [...reader.read(fields).rows, ...(reader.end?.() ?? []).flatMap(({ rows }) => rows)]
}
