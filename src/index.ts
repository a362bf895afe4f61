import { type RewardsOptions, rewardsOptions, type WinRateOptions, winRateOptions } from './evaluate/options.ts'
import { writeReport } from './evaluate/report/report.ts'
import type { RewardReport } from './evaluate/reward-report.ts'
import { evaluateRewards as evaluateRewardsWith } from './evaluate/rewards.ts'
import { evaluateWinRate as evaluateWinRateWith, type WinRateReport } from './evaluate/winrate.ts'
import { answer } from './infer/answer.ts'
import { type GenerateHooks, generate as generateWith } from './infer/generate.ts'
import { type GenerateOptions, generateOptions, type Reply } from './infer/options.ts'
import { validate } from './options/validate.ts'
import type { TrainOptions } from './train/options.ts'
import type { Progress, Run, TrainHooks } from './train/run.ts'
import { train as trainWith } from './train/train.ts'

export { DataError } from './data/read.ts'
export type { Message } from './data/types.ts'
export { type BootstrapOptions, bootstrap } from './evaluate/bootstrap.ts'
export { type Interval, type Proportion, wilson } from './evaluate/interval.ts'
export { judgementsMade, type MadeResult } from './evaluate/made.ts'
export {
  judgementsOptions,
  type ResolvedRewardsOptions,
  type ResolvedWinRateOptions,
  type RewardsOptions,
  rewardsOptions,
  type WinRateOptions,
  winRateOptions,
} from './evaluate/options.ts'
export { writeReport } from './evaluate/report/report.ts'
export type { RewardReport } from './evaluate/reward-report.ts'
export { signTest } from './evaluate/sign-test.ts'
export { type Comparison, type LengthBucket, type Verdict, type WinRate, winRate } from './evaluate/win-rate.ts'
export type { WinRateReport } from './evaluate/winrate.ts'
export type { GenerateHooks } from './infer/generate.ts'
export { type GenerateOptions, generateOptions, type Reply, type ResolvedGenerateOptions } from './infer/options.ts'
export type { ReferencePoint } from './loss/objective.ts'
export { OptionError } from './options/validate.ts'
export { type EngineReport, inspectEngine } from './tensor/engine.ts'
export { type ResolvedTrainOptions, type TrainOptions, trainOptions } from './train/options.ts'
export type { RewardStatistics } from './train/rewards.ts'
export type {
  Evaluation,
  Progress,
  ProgressPiece,
  Run,
  StepMetrics,
  StepTimings,
  Summary,
  TrainHooks,
} from './train/run.ts'

/**
 * Trains a model on judged completions: what `prospect train` does. Resolves once the first step can begin; iterate the run for each step's
 * metrics, and await `finished` for the outcome. Throws OptionError or DataError for what the caller gave, and the signal's reason where it
 * is aborted before the first step.
 *
 *     const run = await train({ model: './SmolLM2-135M-Instruct', data: 'feedback.jsonl', loss: { type: 'kto', beta: 0.1 } })
 *     for await (const step of run) console.log(step.step, step.loss, step.rewards?.margin)
 *     console.log((await run.finished).model)
 */
export function train(options: TrainOptions, hooks: TrainHooks = {}): Promise<Run> {
  return trainWith(options, hooks, { sampler: answer, report: writeReport })
}

/**
 * Replies to prompts, by a model's folder, a name on the hub or an endpoint, in the order of the prompts: what `prospect generate` does.
 * Throws OptionError for what the caller gave, before the first reply, and the signal's reason where it is aborted.
 *
 *     for await (const { completion } of generate({ model: 'runs/thumbs/model', prompt: ['Why is the sky blue?'] })) console.log(completion)
 */
export async function* generate(options: GenerateOptions, hooks: GenerateHooks = {}): AsyncGenerator<Reply> {
  yield* generateWith(validate(generateOptions, options), hooks)
}

/** What evaluations may be handed beside their options. */
export interface EvaluateHooks {
  progress?: Progress
  /** Where aborted, the evaluation rejects with its reason; the same call goes on from what is on disk. */
  signal?: AbortSignal
}

/**
 * Compares two models, or their replies, by a judge: what `prospect evaluate winrate` does. Writes judgements.jsonl and the result into the folder
 * `output`; what was judged there before is not judged again. Throws OptionError or DataError for what the caller gave, and the endpoint's error
 * where it refuses.
 */
export async function evaluateWinRate(options: WinRateOptions, hooks: EvaluateHooks = {}): Promise<WinRateReport> {
  return await evaluateWinRateWith(validate(winRateOptions, options), hooks)
}

/**
 * Scores judged rows under a trained model and its reference: what `prospect evaluate rewards` does. Writes rewards.json and rows.jsonl into the
 * folder `output`. Throws OptionError or DataError for what the caller gave.
 */
export async function evaluateRewards(options: RewardsOptions, hooks: EvaluateHooks = {}): Promise<RewardReport> {
  return await evaluateRewardsWith(validate(rewardsOptions, options), hooks)
}
