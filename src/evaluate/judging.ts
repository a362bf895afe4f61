import PQueue from 'p-queue'
import { Random } from '../data/random.ts'
import type { Progress } from '../train/run.ts'
import type { Judge } from './judge.ts'
import { type Judgement, type JudgementLog, type Look, lookKey, type Matchup, type Side } from './judgement.ts'

export interface JudgingOptions {
  /** One look with the order drawn by seed, or two, one each way round. */
  order: 'shuffle' | 'both'
  seed: number
  /** Judgements under way at once. */
  concurrency: number
  /** Stop before this is spent, at these prices a million tokens. */
  maxCost?: number
  inputPrice: number
  outputPrice: number
  progress?: Progress
  signal?: AbortSignal
}

export interface Judged {
  looks: Look[]
  /** Why not all were judged; null where all were. */
  stopped: 'cost' | null
  /** What all judgements cost, those of earlier runs too. */
  cost: number
}

/** All looks that a judge is to have, in a fixed order. */
export function plannedLooks(
  judge: Judge,
  matchups: readonly Matchup[],
  { order, seed }: Pick<JudgingOptions, 'order' | 'seed'>,
): Look[] {
  return matchups.flatMap((matchup, index) => {
    const drawn: Side = new Random('order', seed, index).share() < 0.5 ? 'candidate' : 'baseline'
    const firsts: Side[] = !judge.seesOrder ? ['candidate'] : order === 'both' ? ['candidate', 'baseline'] : [drawn]
    return firsts.map((first) => ({ key: lookKey(judge.name, matchup, first), index, matchup, first }))
  })
}

/**
 * Lets a judge look at every matchup that the log does not know yet, and logs each judgement as it comes. Throws what the judge throws, and the signal's
 * reason, once what is under way has ended: so what was paid for is in the log.
 */
export async function judgeAll(
  judge: Judge,
  matchups: readonly Matchup[],
  log: JudgementLog,
  options: JudgingOptions,
): Promise<Judged> {
  const looks = plannedLooks(judge, matchups, options)
  const budget = new Budget(options)
  for (const key of new Set(looks.map((look) => look.key))) budget.add(log.get(key))
  const open = distinct(looks).filter(({ key }) => !log.get(key))
  const total = new Set(looks.map(({ key }) => key)).size
  const bar = options.progress?.start(total, 'judgements', total - open.length)
  const cautious = options.maxCost !== undefined && budget.judgements === 0 // nobody knows what one costs yet
  const queue = new PQueue({ concurrency: cautious ? 1 : options.concurrency })
  let [failure, stopped, done] = [null as { error: unknown } | null, null as Judged['stopped'], total - open.length]
  for (const look of open)
    queue.add(async () => {
      if (failure || stopped || options.signal?.aborted) return
      if (!budget.allows()) {
        stopped = 'cost'
        return
      }
      budget.begin()
      try {
        const judgement = await judged(judge, look)
        log.add(judgement)
        budget.add(judgement)
        queue.concurrency = options.concurrency
        bar?.update(++done, options.maxCost === undefined ? {} : { dollars: budget.spent })
      } catch (error) {
        failure ??= { error }
      } finally {
        budget.end()
      }
    })
  await queue.onIdle()
  bar?.stop()
  options.signal?.throwIfAborted()
  if (failure) throw (failure as { error: unknown }).error
  return { looks, stopped, cost: budget.spent }
}

/** Equal replies to equal prompts are judged once. */
function distinct(looks: readonly Look[]): Look[] {
  return [...new Map(looks.map((look) => [look.key, look])).values()]
}

async function judged(judge: Judge, { key, matchup, first }: Look): Promise<Judgement> {
  const { prompt, candidate, baseline, reference } = matchup
  const [one, other] = first === 'candidate' ? [candidate, baseline] : [baseline, candidate]
  const second: Side = first === 'candidate' ? 'baseline' : 'candidate'
  const { winner, ...rest } = await judge.compare({ prompt, first: one, second: other, reference })
  const named = winner === 'first' ? first : winner === 'second' ? second : winner
  return { key, judge: judge.name, prompt, candidate, baseline, first, winner: named, ...rest }
}

/** Counts what judgements cost. What is under way is expected to cost as much as those before it did. */
class Budget {
  readonly #options: JudgingOptions
  spent = 0
  judgements = 0
  #underWay = 0

  constructor(options: JudgingOptions) {
    this.#options = options
  }

  add(judgement: Judgement | undefined): void {
    if (!judgement) return
    const { inputPrice, outputPrice } = this.#options
    this.spent += (judgement.inputTokens * inputPrice + judgement.outputTokens * outputPrice) / 1e6
    this.judgements++
  }

  allows(): boolean {
    const { maxCost } = this.#options
    if (maxCost === undefined) return true
    const each = this.judgements === 0 ? 0 : this.spent / this.judgements
    return this.spent + each * (this.#underWay + 1) <= maxCost
  }

  begin(): void {
    this.#underWay++
  }
  end(): void {
    this.#underWay--
  }
}
