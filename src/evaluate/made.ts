import { DataError } from '../data/read.ts'
import { readTextFile } from '../options/files.ts'
import { type Proportion, wilson } from './interval.ts'
import { type Judgement, pointsOf } from './judgement.ts'
import { signTest } from './sign-test.ts'
import { type Verdict, verdictOf } from './win-rate.ts'

/** What judgements that were made before say about one candidate. A prompt counts once, by the mean of its replies' points. */
export interface MadeResult {
  name: string
  judge: string
  total: number
  wins: number
  ties: number
  losses: number
  /** Judgements that named neither reply. */
  undecided: number
  /** Wins among all, as the KTO paper reports them, with Wilson's interval. */
  winsOfAll: Proportion
  /** Wins among those that are no ties and decided. */
  decided: Proportion
  signTest: number
  verdict: Verdict
}

type Counts = Pick<MadeResult, 'name' | 'judge' | 'wins' | 'ties' | 'losses' | 'undecided'>

/**
 * Reads JSONL of judgements: those of `prospect evaluate winrate` (judgements.jsonl), counted by judge and prompt, or the results that HALOs' compare.py appends to, a line a
 * model: `{"total", "exp_name", "judge", "candidate": {"name", "wins"}, "baseline": {"name", "wins"}}`.
 */
export function judgementsMade(file: string): MadeResult[] {
  const lines = readTextFile('--judgements', file).split('\n')
  const counted: Counts[] = []
  const own = new Map<string, Looks>()
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '') continue
    const row = parsed(line, { file, line: i + 1 })
    if (isHalos(row)) counted.push(ofHalos(row))
    else if (isOwn(row)) keep(row, own)
    else
      throw new DataError(
        { file, line: i + 1 },
        `neither a judgement (key, judge, winner) nor a result of HALOs (total, candidate.wins, baseline.wins); it has ${Object.keys(row).join(', ')}`,
      )
  }
  const all = [...counted, ...[...own].map(([judge, looks]) => ofLooks(judge, looks))]
  if (all.length === 0) throw new Error(`${file}: no judgements; the file is empty`)
  return all.map(resultOf)
}

interface HalosResult {
  total: number
  exp_name?: string
  judge?: string
  candidate: { name?: string; wins: number }
  baseline: { name?: string; wins: number }
}

function parsed(line: string, origin: { file: string; line: number }): object {
  try {
    const row: unknown = JSON.parse(line)
    if (typeof row === 'object' && row !== null) return row
  } catch (error) {
    throw new DataError(origin, `not JSON: ${(error as Error).message}`)
  }
  throw new DataError(origin, `expected an object, got ${line.slice(0, 80)}`)
}

function isHalos(row: object): row is HalosResult {
  const { total, candidate, baseline } = row as Partial<HalosResult>
  return [total, candidate?.wins, baseline?.wins].every(Number.isInteger)
}

function isOwn(row: object): row is Judgement {
  const { judge, winner } = row as Partial<Judgement>
  return typeof judge === 'string' && ['candidate', 'baseline', 'tie', null].includes(winner as string | null)
}

function ofHalos({ total, exp_name: name, judge, candidate, baseline }: HalosResult): Counts {
  const [wins, losses] = [candidate.wins, baseline.wins]
  return {
    name: name ?? candidate.name ?? 'candidate',
    judge: judge ?? 'unknown',
    ...{ wins, ties: 0, losses, undecided: total - wins - losses },
  }
}

/** By prompt, and there by the two replies: looks at the same two, or at others to the same prompt, are no independent evidence. */
type Looks = Map<string, Map<string, Judgement['winner'][]>>

function keep({ judge, prompt, candidate, baseline, winner }: Judgement, own: Map<string, Looks>): void {
  const looks = entry(own, judge, (): Looks => new Map())
  const matchups = entry(looks, JSON.stringify(prompt), () => new Map<string, Judgement['winner'][]>())
  entry(matchups, JSON.stringify([candidate, baseline]), () => []).push(winner)
}

function entry<V>(map: Map<string, V>, key: string, made: () => V): V {
  const found = map.get(key) ?? made()
  map.set(key, found)
  return found
}

/** A verdict that turns with the order is a tie, as in `prospect evaluate winrate`. */
function ofLooks(judge: string, looks: Looks): Counts {
  const counts = { name: 'candidate', judge, wins: 0, ties: 0, losses: 0, undecided: 0 }
  for (const matchups of looks.values()) {
    const points = [...matchups.values()].map(pointsOf).filter((points) => points !== null)
    const mean = points.reduce((sum, point) => sum + point, 0) / points.length
    counts[points.length === 0 ? 'undecided' : mean > 0.5 ? 'wins' : mean < 0.5 ? 'losses' : 'ties']++
  }
  return counts
}

function resultOf(counts: Counts): MadeResult {
  const { wins, ties, losses, undecided } = counts
  const p = signTest(wins, losses)
  const total = wins + ties + losses + undecided
  return {
    ...counts,
    total,
    winsOfAll: wilson(wins, total),
    decided: wilson(wins, wins + losses),
    signTest: p,
    verdict: verdictOf(counts, p),
  }
}
