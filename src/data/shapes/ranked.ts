import { createHash } from 'node:crypto'
import { brief } from '../origin.ts'
import { extrasOf, judged, numberOf, promptOf, replyOf, verdictOf } from './fields.ts'
import { isObject } from './messages.ts'
import { bothSides, nothing } from './plain.ts'
import { type Fields, type Found, type Row, type Shape, type ShapeContext, simpleShape, type Text } from './shape.ts'

const listNames = ['completions', 'answers', 'responses', 'candidates']
const scoreNames = ['score', 'rating', 'overall_score', 'stars', 'reward']

/** {prompt, completion, score}: the score is judged by `--threshold`; scores that are 0 and 1 are labels. */
export const scored = simpleShape(
  'scored',
  '`prompt`, `completion`, `score` (or `rating`, `stars`, `reward`)',
  (fields) => 'completion' in fields && !('label' in fields) && scoreNameIn(fields) !== undefined,
  (fields, context) => {
    const name = scoreNameIn(fields)
    if (name === undefined) throw new Error(`score is missing; the row has ${Object.keys(fields).join(', ')}`)
    const score = numberOf(fields[name])
    const row = { prompt: promptOf(fields), completion: replyOf(fields, 'completion'), ...extrasOf(fields, context) }
    return judged(verdictOf(fields[name], name, context), { ...row, ...(score === null ? {} : { score }) })
  },
  (fields) => numbers([fields[scoreNameIn(fields) ?? '']]),
)

function scoreNameIn(fields: Fields): string | undefined {
  return scoreNames.find((name) => fields[name] !== undefined && fields[name] !== null)
}

function numbers(values: readonly unknown[]): number[] {
  return values.map(numberOf).filter((value) => value !== null)
}

/** {prompt, completions: [...], ranks: [...]}, or completions of {text, rank}. Rank 0 or 1 is the best. */
export const ranked = simpleShape(
  'ranked',
  '`prompt`, `completions` (or `answers`, `responses`) with `ranks`, or each with its own `rank` or `score`',
  (fields) => 'prompt' in fields && listNameIn(fields) !== undefined,
  (fields, context) => {
    const name = listNameIn(fields)
    if (name === undefined) throw new Error(`completions is missing; the row has ${Object.keys(fields).join(', ')}`)
    const answers = answersIn(fields, name)
    const prompt = promptOf(fields)
    const extras = extrasOf(fields, context)
    const byScore = answers.every(({ score }) => score !== null)
    if (context.threshold && byScore) return byThreshold(prompt, answers, context, extras)
    const ranks = answers.map(({ rank, score }) => rank ?? (byScore ? -score! : null))
    const missing = ranks.indexOf(null)
    if (missing >= 0) throw new Error(`${name}[${missing}] has no rank and no score, and the row has no ranks`)
    return byRank(
      prompt,
      answers.map(({ text }, i) => ({ text, rank: ranks[i]! })),
      context,
      extras,
    )
  },
  (fields) => answersIn(fields, listNameIn(fields) ?? '').flatMap(({ score }) => score ?? []),
)

interface Answer {
  text: Text
  rank: number | null
  score: number | null
}

function listNameIn(fields: Fields): string | undefined {
  return listNames.find((name) => Array.isArray(fields[name]))
}

function answersIn(fields: Fields, name: string): Answer[] {
  const list = fields[name] as unknown[]
  const given = fields.ranks ?? fields.rankings
  if (given !== undefined && (!Array.isArray(given) || given.length !== list.length))
    throw new Error(`ranks must be a list with a number for each of the ${list.length} ${name}, got ${brief(given)}`)
  return list.map((answer, i) => {
    const fieldsOf = isObject(answer) ? answer : { text: answer }
    const key = ['text', 'completion', 'response', 'answer', 'content', 'messages'].find((key) => key in fieldsOf)
    if (key === undefined) throw new Error(`${name}[${i}] has no text, got ${brief(answer)}`)
    const scoreName = scoreNameIn(fieldsOf)
    return {
      text: replyOf({ [key]: fieldsOf[key] }, key),
      rank: numberOf(Array.isArray(given) ? given[i] : fieldsOf.rank),
      score: scoreName === undefined ? null : numberOf(fieldsOf[scoreName]),
    }
  })
}

function byThreshold(prompt: Text, answers: readonly Answer[], context: ShapeContext, extras: Partial<Row>): Found {
  const rows = answers.flatMap(
    ({ text, score }) =>
      judged(context.threshold!(score!), { ...extras, prompt, completion: text, score: score! }).rows,
  )
  return partly(rows, answers.length, 'between the thresholds')
}

function partly(rows: Row[], of: number, why: string): Found {
  return rows.length < of ? { rows, leftOut: `${why} (answers of one prompt)` } : { rows }
}

/**
 * Rows of answers in order of preference. `best-worst`: the best is desirable, the worst undesirable; `halves`: the better half and the worse
 * half, the middle one of an odd number, and ties across the middle, left out; `pairs`: both sides of every pair of different ranks, as the paper unpairs rankings, so an
 * answer in the middle stands on both sides; `neighbours`: of those pairs each answer and the next, as HALOs' get_oasst does.
 */
export function byRank(
  prompt: Text,
  answers: readonly { text: Text; rank: number }[],
  context: ShapeContext,
  extras: Partial<Row> = {},
): Found {
  const order = [...answers].sort((a, b) => a.rank - b.rank)
  const [best, worst] = [order[0], order.at(-1)]
  if (!best || !worst || best.rank === worst.rank) return nothing('no answer is ranked above another')
  if (context.ranked === 'pairs' || context.ranked === 'neighbours') {
    const reach = context.ranked === 'pairs' ? order.length : 1
    const pairs = order.flatMap((better, i) =>
      order
        .slice(i + 1, i + 1 + reach)
        .filter(({ rank }) => rank > better.rank)
        .map((worse) => [better.text, worse.text] as const),
    )
    return { rows: pairs.flatMap(([chosen, rejected]) => bothSides(prompt, chosen, rejected, context, extras)) }
  }
  if (context.ranked === 'best-worst') {
    const rows = bothSides(prompt, best.text, worst.text, context, extras)
    return partly(rows, order.length, 'neither best nor worst')
  }
  const half = order.length / 2
  const [lower, upper] = [order.slice(0, Math.floor(half)), order.slice(Math.ceil(half))]
  // Answers of one rank on both sides of the middle are neither better nor worse.
  const tied = lower.at(-1)!.rank === upper[0]!.rank ? upper[0]!.rank : null
  const row = ({ text }: { text: Text }, label: boolean): Row => ({ ...extras, prompt, completion: text, label })
  const rows = [
    ...lower.filter(({ rank }) => rank !== tied).map((answer) => row(answer, true)),
    ...upper.filter(({ rank }) => rank !== tied).map((answer) => row(answer, false)),
  ]
  return partly(rows, order.length, 'in the middle')
}

/** openbmb/UltraFeedback: {instruction, completions: [{response, overall_score, ...}]}. */
export const ultrafeedback = simpleShape(
  'ultrafeedback',
  '`instruction`, `completions` with `response` and `overall_score` (openbmb/UltraFeedback)',
  (fields) => 'instruction' in fields && Array.isArray(fields.completions),
  (fields, context) => {
    const extras = extrasOf(fields, context)
    const prompt = promptOf(fields, 'instruction')
    const answers = answersIn(fields, 'completions')
    const without = answers.findIndex(({ score }) => score === null)
    if (without >= 0) throw new Error(`completions[${without}] has no overall_score`)
    if (context.threshold) return byThreshold(prompt, answers, context, extras)
    return byRank(
      prompt,
      answers.map(({ text, score }) => ({ text, rank: -score! })),
      context,
      extras,
    )
  },
  (fields) => answersIn(fields, 'completions').flatMap(({ score }) => score ?? []),
)

/** stanfordnlp/SHP: two comments on a post, with their scores. The paper keeps score ratios of at least 2 and at most 5 pairs a post. */
export const shp: Shape = {
  name: 'shp',
  title: '`history`, `human_ref_A`, `human_ref_B`, `labels`, `score_A`, `score_B` (stanfordnlp/SHP)',
  matches: (fields) => 'human_ref_A' in fields && 'human_ref_B' in fields,
  reader(context) {
    const pairsOf = new Map<string, number>()
    return {
      read(fields) {
        const { labels } = fields
        if (numberOf(labels) !== 1 && numberOf(labels) !== 0)
          throw new Error(
            `labels is ${brief(labels)}; expected 1 where human_ref_A is preferred, 0 where human_ref_B is`,
          )
        const history = promptOf(fields, 'history')
        const ratio = ratioOf(fields)
        if (ratio < context.minScoreRatio) return nothing(`score ratio below ${context.minScoreRatio}`)
        const key = createHash('sha256').update(JSON.stringify(history)).digest('base64')
        const before = pairsOf.get(key) ?? 0
        if (before >= context.maxPairsPerPrompt)
          return nothing(`more than ${context.maxPairsPerPrompt} pairs of one prompt`)
        pairsOf.set(key, before + 1)
        const [a, b] = [replyOf(fields, 'human_ref_A'), replyOf(fields, 'human_ref_B')]
        const first = numberOf(labels) === 1
        return { rows: bothSides(history, first ? a : b, first ? b : a, context, extrasOf(fields, context)) }
      },
    }
  },
}

function ratioOf(fields: Fields): number {
  const given = numberOf(fields.score_ratio)
  if (given !== null) return given
  const [a, b] = [numberOf(fields.score_A), numberOf(fields.score_B)]
  if (a === null || b === null) throw new Error('score_ratio is missing, and so is score_A or score_B')
  return Math.max(a, b) / Math.max(1, Math.min(a, b))
}
