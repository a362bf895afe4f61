/** Small texts that options of feedback are written in. Read here, without what reads the feedback itself, so that help answers at once. */

/** What a judgement says: thumbs up, thumbs down, or nothing (a row without an opinion, which is left out and counted). */
export type Verdict = boolean | 'skip'

/** Names of the shapes that records may have; src/data/shapes/ has a reader for each. */
export const shapeNames = [
  'oasst-trees',
  'oasst-messages',
  'shp',
  'halos',
  'ultrafeedback',
  'openai-preference',
  'openai-eval',
  'paired',
  'langsmith',
  'langfuse',
  'chatgpt',
  'judgements',
  'openai-log',
  'conversation',
  'edits',
  'regenerations',
  'ranked',
  'scored',
  'unpaired',
] as const

/** Reads `great=up,meh=skip`. Throws saying which part it does not understand. */
export function parseLabelMap(text: string): Map<string, Verdict> {
  const verdicts = new Map<string, Verdict>([
    ['up', true],
    ['true', true],
    ['down', false],
    ['false', false],
    ['skip', 'skip'],
  ])
  const map = new Map<string, Verdict>()
  for (const part of text.split(',').filter((part) => part.trim() !== '')) {
    const at = part.lastIndexOf('=')
    const verdict = verdicts.get(part.slice(at + 1).trim())
    if (at < 1 || verdict === undefined)
      throw new Error(`${JSON.stringify(part)} is not value=up, value=down or value=skip`)
    map.set(part.slice(0, at).trim(), verdict)
  }
  return map
}

/** `4`: from 4 on thumbs up. `mean`, `median`: of all scores. `quantiles:0.25`: the top quarter up, the bottom quarter down, the rest left out. */
export type ThresholdSpec =
  | { kind: 'number'; value: number }
  | { kind: 'mean' }
  | { kind: 'median' }
  | { kind: 'quantiles'; share: number }

/** Throws saying what is understood. */
export function parseThreshold(text: string): ThresholdSpec {
  if (text === 'mean' || text === 'median') return { kind: text }
  const share = /^quantiles:(0?\.\d+|0\.5)$/.exec(text)?.[1]
  if (share !== undefined && Number(share) > 0 && Number(share) <= 0.5)
    return { kind: 'quantiles', share: Number(share) }
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (Number.isFinite(value)) return { kind: 'number', value }
  throw new Error(`expected a number, mean, median, or quantiles:<share up to 0.5>, got ${JSON.stringify(text)}`)
}

/** Reads `prompt=question,label=meta.thumb`. */
export function parseMap(text: string): Record<string, string> {
  const entries = text.split(',').map((part) => {
    const at = part.indexOf('=')
    const [field, column] = [part.slice(0, at).trim(), part.slice(at + 1).trim()]
    if (at < 1 || field === '' || column === '') throw new Error(`${JSON.stringify(part)} is not field=column`)
    return [field, column] as const
  })
  return Object.fromEntries(entries)
}

/** Reads `alice=2,bob=0.5`, or `equal`. */
export function parseWeights(text: string): 'equal' | Map<string, number> {
  if (text === 'equal') return 'equal'
  return new Map(
    text.split(',').map((part) => {
      const at = part.lastIndexOf('=')
      const weight = Number(part.slice(at + 1))
      if (at < 1 || part.slice(at + 1).trim() === '' || !(weight >= 0))
        throw new Error(`${JSON.stringify(part)} is not name=weight, nor is the whole "equal"`)
      return [part.slice(0, at).trim(), weight] as const
    }),
  )
}
