import { extrasOf, judged, numberOf, promptOf, replyOf, verdictOf } from './fields.ts'
import { bothSides } from './plain.ts'
import { simpleShape } from './shape.ts'

/**
 * What HALOs' label.py writes: binary feedback {prompt, output, label, reward}, judged by `--threshold` over the rewards where there is one, and pairwise
 * feedback {prompt, output_A, output_B, label}, where label 1 prefers A.
 */
export const halos = simpleShape(
  'halos',
  '`prompt`, `output`, `label`, `type: binary_feedback`; or `output_A`, `output_B`, `label` (HALOs)',
  (fields) =>
    ('output_A' in fields && 'output_B' in fields) || (fields.type === 'binary_feedback' && 'output' in fields),
  (fields, context) => {
    const prompt = promptOf(fields)
    const extras = extrasOf(fields, context)
    if ('output_A' in fields) {
      const [a, b] = [replyOf(fields, 'output_A'), replyOf(fields, 'output_B')]
      const first = context.labels.of(fields.label)
      if (first === 'skip') return { rows: [], leftOut: 'no opinion' }
      return { rows: first ? bothSides(prompt, a, b, context, extras) : bothSides(prompt, b, a, context, extras) }
    }
    const score = numberOf(fields.reward)
    const byScore = context.threshold !== null && score !== null
    const verdict = byScore ? verdictOf(score, 'reward', context) : context.labels.of(fields.label)
    const row = { ...extras, prompt, completion: replyOf(fields, 'output'), ...(score === null ? {} : { score }) }
    return judged(verdict, row)
  },
  ({ reward }) => [numberOf(reward)].filter((score) => score !== null),
)
