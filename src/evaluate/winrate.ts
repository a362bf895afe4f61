import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { defaultCache } from '../data/source/files.ts'
import { localModel } from '../hub/inputs.ts'
import { Endpoint } from '../infer/endpoint.ts'
import { type GenerateHooks, generate } from '../infer/generate.ts'
import { generateOptions } from '../infer/options.ts'
import { openSource, sourceHash } from '../model/open.ts'
import { ResidentModel } from '../model/resident.ts'
import { makeFolder, readTextFile, wholeLines } from '../options/files.ts'
import { OptionError } from '../options/validate.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import type { Progress } from '../train/run.ts'
import { type Proportion, shareOverPrompts } from './interval.ts'
import { exactJudge, finalAnswer, type Judge } from './judge.ts'
import { endpointJudge } from './judge-endpoint.ts'
import { programJudge } from './judge-program.ts'
import { comparisonsOf, JudgementLog, type Matchup } from './judgement.ts'
import { judgeAll } from './judging.ts'
import type { ResolvedWinRateOptions } from './options.ts'
import { matchups, type Replied, readReplies } from './replies.ts'
import { type WinRate, winRate } from './win-rate.ts'

/** What `winrate.json` holds. */
export interface WinRateReport extends WinRate {
  judge: string
  candidate: string
  baseline: string
  /** Matchups that the judge saw and never decided. */
  undecided: number
  /** Matchups not judged yet. */
  unjudged: number
  /** Where final answers are compared: how many are right. */
  exact: { candidate: Proportion; baseline: Proportion } | null
  /** Of all judgements, in dollars, at the prices given. */
  cost: number
  /** Why the judging ended before all was judged. */
  stopped: 'cost' | null
  judgements: string
}

interface Hooks {
  progress?: Progress
  signal?: AbortSignal
}

/** Compares two models, or their replies, by a judge. What was judged before, into the same folder, is not judged again. */
export async function evaluateWinRate(options: ResolvedWinRateOptions, hooks: Hooks = {}): Promise<WinRateReport> {
  const { candidate, baseline, prompts, output, seed } = options
  if (baseline === undefined && prompts === undefined)
    throw new OptionError(
      '--baseline: required but not given: name a model or a file of replies, or give --prompts whose rows have completions',
    )
  makeFolder('--output', output)
  const { ours, theirs } = await bothReplies(options, hooks)
  const pairs = matchups(ours.slice(0, options.maxPrompts), theirs, rightAnswers(options))
  const judge = await openJudge(options, hooks)
  const log = new JudgementLog(join(output, 'judgements.jsonl'))
  try {
    const { looks, stopped, cost } = await judgeAll(judge, pairs, log, { ...options, ...hooks })
    const comparisons = comparisonsOf(looks, log)
    const seen = new Set(looks.flatMap(({ key, index }) => (log.get(key) ? [index] : [])))
    const report: WinRateReport = {
      ...winRate(comparisons, { seed }),
      judge: judge.name,
      candidate,
      baseline: baseline ?? `${prompts} (its completions)`,
      undecided: seen.size - comparisons.length,
      unjudged: pairs.length - seen.size,
      exact: options.judge === 'exact' ? exactShares(pairs) : null,
      cost,
      stopped,
      judgements: log.path,
    }
    writeFileAtomic(join(output, 'winrate.json'), `${JSON.stringify(report, null, 2)}\n`)
    return report
  } finally {
    judge.close?.()
  }
}

/** What is right by a prompt's row in `--prompts`: its `answer`, else its completion; undefined where it is not there. */
function rightAnswers({ prompts }: ResolvedWinRateOptions): (prompt: Replied['prompt']) => string | undefined {
  if (prompts === undefined) return () => undefined
  const rows = readReplies(prompts, 'baseline', '--prompts')
  const known = new Map(
    rows.map(({ prompt, reference, completion }) => [JSON.stringify(prompt), reference ?? completion ?? undefined]),
  )
  return (prompt) => known.get(JSON.stringify(prompt))
}

function exactShares(pairs: readonly Matchup[]): { candidate: Proportion; baseline: Proportion } {
  const prompts = new Set(pairs.map(({ prompt }) => JSON.stringify(prompt))).size
  const right = (side: 'candidate' | 'baseline') =>
    pairs.map((pair) => Number(finalAnswer(pair[side]) === finalAnswer(pair.reference!)))
  return {
    candidate: shareOverPrompts(right('candidate'), prompts),
    baseline: shareOverPrompts(right('baseline'), prompts),
  }
}

/** Replies of both sides. Where one is the other with an adapter, their weights are read once. */
async function bothReplies(options: ResolvedWinRateOptions, hooks: Hooks) {
  const { candidate, baseline, prompts, adapter } = options
  const resident = new ResidentModel()
  const both = { ...hooks, resident }
  try {
    const ours = await repliesOf('candidate', candidate, options, both, adapter)
    return { ours, theirs: await repliesOf('baseline', baseline ?? prompts!, options, both) }
  } finally {
    resident.dispose()
  }
}

/** The replies in a file, or those of a model, which are kept in the output folder. */
async function repliesOf(
  role: 'candidate' | 'baseline',
  path: string,
  options: ResolvedWinRateOptions,
  hooks: GenerateHooks,
  adapter?: string,
): Promise<Replied[]> {
  if (existsSync(path) && !statSync(path).isDirectory()) {
    if (adapter !== undefined)
      throw new OptionError(`--adapter: ${path} is a file of replies; name a model with --${role}`)
    return readReplies(path, role)
  }
  const model = await localModel(path, hooks) // throws where it is no folder and nothing on the hub
  if (options.prompts === undefined)
    throw new OptionError(`--prompts: required but not given: ${path} is a model, which needs prompts to answer`)
  const all = readReplies(options.prompts, 'baseline', '--prompts').slice(0, options.maxPrompts)
  const { maxTokens, temperature, topP, seed, loadIn, precision, device, threads } = options
  const weights = await sourceHash(await openSource(model, { adapter }, hooks), defaultCache(), hooks)
  const name = repliesName([weights, all.map(asked), maxTokens, temperature, topP, seed, loadIn, precision])
  const file = join(options.output, `${role}-${name}.jsonl`)
  const questions = join(options.output, 'prompts.jsonl')
  writeFileAtomic(questions, all.map((reply) => `${JSON.stringify(asked(reply))}\n`).join(''))
  const sampling = { maxTokens, temperature, topP, seed }
  const running = { loadIn, precision, device, threads }
  const resolved = generateOptions.parse({ model, adapter, prompts: questions, ...sampling, ...running })
  for await (const { completion } of generate(resolved, { ...hooks, skip: wholeLines('--output', file).length }))
    appendFileSync(file, `${JSON.stringify({ completion })}\n`)
  const completions = wholeLines('--output', file).map(
    (line) => (JSON.parse(line) as { completion: string }).completion,
  )
  return all.map(({ prompt }, i) => ({ prompt, completion: completions[i]! }))
}

/** The row of a prompt that a model answers. */
function asked({ prompt, tools }: Replied): object {
  return { ...(Array.isArray(prompt) ? { messages: prompt } : { prompt }), ...(tools && { tools }) }
}

/** Tells replies of other weights, prompts and settings apart. */
function repliesName(of: unknown): string {
  return createHash('sha256').update(JSON.stringify(of)).digest('hex').slice(0, 12)
}

async function openJudge(
  { judge, judgeModel, judgePrompt, attempts, timeout, perMinute }: ResolvedWinRateOptions,
  { signal }: Hooks,
): Promise<Judge> {
  if (judge === 'exact') return exactJudge()
  if (!/^https?:\/\//.test(judge)) return programJudge(judge)
  const endpoint = new Endpoint({ url: judge, model: judgeModel, attempts, timeoutSeconds: timeout, perMinute, signal })
  if (judgePrompt === undefined) return endpointJudge(endpoint, judgeModel)
  return endpointJudge(
    endpoint,
    judgeModel,
    readTextFile('--judge-prompt', judgePrompt),
    `--judge-prompt ${judgePrompt}`,
  )
}
