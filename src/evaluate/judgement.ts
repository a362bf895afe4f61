import { createHash } from 'node:crypto'
import { appendFileSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Message } from '../data/types.ts'
import { wholeLines } from '../options/files.ts'
import type { Comparison } from './win-rate.ts'

/** Two replies to one prompt. */
export interface Matchup {
  prompt: string | Message[]
  candidate: string
  baseline: string
  /** What the data say is right, for judges that compare with it. */
  reference?: string
}

export type Side = 'candidate' | 'baseline'

/** What one look at a matchup gave, as a line of judgements.jsonl has it. */
export interface Judgement {
  /** Hash of all that the judge saw: judge, prompt, both replies and their order. */
  key: string
  judge: string
  prompt: string | Message[]
  candidate: string
  baseline: string
  /** Which reply was shown first. */
  first: Side
  /** null: the judge's answer named neither. */
  winner: Side | 'tie' | null
  /** The judge's own words. */
  raw: string
  inputTokens: number
  outputTokens: number
}

/** One look to be had. */
export interface Look {
  key: string
  /** Position of the matchup. */
  index: number
  matchup: Matchup
  first: Side
}

export function lookKey(judge: string, { prompt, candidate, baseline, reference }: Matchup, first: Side): string {
  const seen = JSON.stringify([judge, prompt, candidate, baseline, reference ?? null, first])
  return createHash('sha256').update(seen).digest('hex').slice(0, 32)
}

/** judgements.jsonl: judgements by key, each written the moment it is there, so that none is lost and none is paid for twice. */
export class JudgementLog {
  readonly path: string
  readonly #known = new Map<string, Judgement>()

  constructor(path: string) {
    this.path = path
    mkdirSync(dirname(path), { recursive: true })
    for (const [i, line] of wholeLines('--output', path).entries()) {
      if (line.trim() !== '') this.#remember(line, i + 1)
    }
  }

  #remember(line: string, number: number): void {
    try {
      const judgement = JSON.parse(line) as Judgement
      if (typeof judgement.key !== 'string' || !('winner' in judgement)) throw new Error('it has no key and winner')
      this.#known.set(judgement.key, judgement)
    } catch (error) {
      throw new Error(`${this.path}:${number}: not a judgement: ${(error as Error).message}; take the line out`)
    }
  }

  get(key: string): Judgement | undefined {
    return this.#known.get(key)
  }

  add(judgement: Judgement): void {
    if (this.#known.has(judgement.key)) return
    this.#known.set(judgement.key, judgement)
    appendFileSync(this.path, `${JSON.stringify(judgement)}\n`)
  }
}

/** What looks at the same two replies come to, 1 for the candidate, 0.5 for a tie; null where the judge never decided. */
export function pointsOf(winners: readonly Judgement['winner'][]): number | null {
  const points = winners.flatMap((winner) =>
    winner === null ? [] : [winner === 'tie' ? 0.5 : Number(winner === 'candidate')],
  )
  return points.length === 0 ? null : points.reduce((sum, point) => sum + point, 0) / points.length
}

/** One comparison a matchup that was judged, from all looks at it; a matchup on which the judge never decided is left out. */
export function comparisonsOf(looks: readonly Look[], log: Pick<JudgementLog, 'get'>): Comparison[] {
  const byMatchup = new Map<number, Look[]>()
  for (const look of looks) byMatchup.set(look.index, [...(byMatchup.get(look.index) ?? []), look])
  return [...byMatchup.values()].flatMap((own) => {
    const points = pointsOf(own.map(({ key }) => log.get(key)?.winner ?? null))
    const { prompt, candidate, baseline } = own[0]!.matchup
    const lengths = { candidateLength: candidate.length, baselineLength: baseline.length }
    return points === null ? [] : [{ points, ...lengths, prompt: JSON.stringify(prompt) }]
  })
}
