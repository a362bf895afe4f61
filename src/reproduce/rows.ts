import { Random } from '../data/random.ts'
import type { FeedbackRow, Message } from '../data/types.ts'

/** A judged reply. */
export interface Judged {
  prompt: string | Message[]
  completion: string | Message[]
  label: boolean
  tools?: FeedbackRow['tools']
}

/** The two replies of a comparison. */
export interface Pair {
  prompt: Judged['prompt']
  chosen: Judged['completion']
  rejected: Judged['completion']
  tools?: FeedbackRow['tools']
}

/** What an experiment does to feedback. */
export interface Shaping {
  onePerPrompt?: boolean
  /** Share of thumbs-up rows kept. */
  keepDesirable?: number
  /** Share of thumbs turned round. */
  wrong?: number
  /** Each row three times, each with this probability of the opposite thumb. */
  dissent?: number
}

/** The rows that an arm trains on: a pure function of rows, shaping and seed. */
export function shaped(
  rows: readonly Judged[],
  { onePerPrompt, keepDesirable, wrong, dissent }: Shaping,
  seed: number,
): Judged[] {
  const random = new Random('shaping', seed)
  let result = [...rows]
  if (dissent !== undefined)
    result = result.flatMap((row) => [row, row, row].map((copy) => turned(copy, dissent, random)))
  if (wrong !== undefined) result = result.map((row) => turned(row, wrong, random))
  if (onePerPrompt) {
    const order = random.permutation(result.length)
    result = [...new Map([...order].map((i) => [keyOf(result[i]!), result[i]!])).values()]
  }
  if (keepDesirable !== undefined) {
    const kept = Math.max(1, Math.round(keepDesirable * result.filter(({ label }) => label).length))
    let left = kept
    result = [...random.permutation(result.length)].map((i) => result[i]!).filter(({ label }) => !label || left-- > 0)
  }
  return result
}

function turned(row: Judged, share: number, random: Random): Judged {
  return random.share() < share ? { ...row, label: !row.label } : row
}

/** Chosen and rejected replies of one prompt, for objectives of pairs: as many as there are thumbs up and thumbs down to put together. */
export function paired(rows: readonly Judged[]): Pair[] {
  return [...byPrompt(rows).values()].flatMap((replies) => {
    const of = (label: boolean) => replies.filter((reply) => reply.label === label).map(({ completion }) => completion)
    const [ups, downs] = [of(true), of(false)]
    const { prompt, tools } = replies[0]!
    return ups
      .slice(0, downs.length)
      .map((chosen, i) => ({ prompt, chosen, rejected: downs[i]!, ...(tools && { tools }) }))
  })
}

export function byPrompt<R extends Pick<Judged, 'prompt'>>(rows: readonly R[]): Map<string, R[]> {
  const groups = new Map<string, R[]>()
  for (const row of rows) {
    const known = groups.get(keyOf(row))
    if (known) known.push(row)
    else groups.set(keyOf(row), [row])
  }
  return groups
}

function keyOf({ prompt }: Pick<Judged, 'prompt'>): string {
  return JSON.stringify(prompt)
}
