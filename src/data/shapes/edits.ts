import { extrasOf, labelOf, promptOf, replyOf } from './fields.ts'
import { bothSides, nothing } from './plain.ts'
import { type Fields, simpleShape } from './shape.ts'

const editNames = ['edited', 'edit', 'edited_completion', 'corrected', 'correction']
const attemptNames = ['attempts', 'regenerations']

/** The user corrected the reply: the corrected text is desirable, the model's own undesirable. */
export const edits = simpleShape(
  'edits',
  "`prompt`, `completion` (the model's), `edited` (or `correction`: the user's)",
  (fields) => 'completion' in fields && editNameIn(fields) !== undefined,
  (fields, context) => {
    const prompt = promptOf(fields)
    const completion = replyOf(fields, 'completion')
    const name = editNameIn(fields)
    if (name === undefined) throw new Error(`edited is missing; the row has ${Object.keys(fields).join(', ')}`)
    const edited = replyOf(fields, name)
    if (JSON.stringify(edited) === JSON.stringify(completion)) return nothing('the edit changes nothing')
    return bothSides(prompt, edited, completion, context, extrasOf(fields, context))
  },
)

function editNameIn(fields: Fields): string | undefined {
  return editNames.find((name) => fields[name] !== undefined && fields[name] !== null && fields[name] !== '')
}

/**
 * The user asked for other replies: those they rejected are undesirable. The last one was merely not rejected, so it is a row only where the
 * record has a label for it. Also {prompt, completion, regenerated: true}: a reply that was asked for again.
 */
export const regenerations = simpleShape(
  'regenerations',
  '`prompt`, `attempts` (all but the last rejected; `label` judges the last), or `completion` with `regenerated`',
  (fields) => 'regenerated' in fields || attemptNames.some((name) => Array.isArray(fields[name])),
  (fields, context) => {
    const prompt = promptOf(fields)
    const extras = extrasOf(fields, context)
    const name = attemptNames.find((name) => Array.isArray(fields[name]))
    if (name === undefined) return oneAttempt(fields, context)
    const attempts = (fields[name] as unknown[]).map((_, i) => replyOf(fields[name] as unknown as Fields, String(i)))
    const rejected = attempts.slice(0, -1).map((completion) => ({ ...extras, prompt, completion, label: false }))
    const judgesLast = fields.label !== undefined && fields.label !== null && fields.label !== ''
    const verdict = judgesLast ? labelOf(fields, context) : 'skip'
    const last =
      verdict === 'skip' || attempts.length === 0
        ? []
        : [{ ...extras, prompt, completion: attempts.at(-1)!, label: verdict }]
    const rows = [...rejected, ...last]
    if (rows.length === 0) return nothing('one attempt and no label')
    return last.length === 0 ? { rows, leftOut: 'the last attempt has no label' } : { rows }
  },
)

function oneAttempt(fields: Fields, context: Parameters<typeof labelOf>[1]) {
  const again = context.labels.of(fields.regenerated, 'regenerated')
  const row = { prompt: promptOf(fields), completion: replyOf(fields, 'completion'), ...extrasOf(fields, context) }
  if (again === true) return { rows: [{ ...row, label: false }] }
  const hasLabel = fields.label !== undefined && fields.label !== null && fields.label !== ''
  if (!hasLabel) return nothing('not regenerated and no label')
  const verdict = labelOf(fields, context)
  return verdict === 'skip' ? nothing('no opinion') : { rows: [{ ...row, label: verdict }] }
}
