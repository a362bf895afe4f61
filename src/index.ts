import { writeReport } from './evaluate/report/report.ts'
import { answer } from './infer/answer.ts'
import type { TrainOptions } from './train/options.ts'
import type { Run, TrainHooks } from './train/run.ts'
import { train as trainWith } from './train/train.ts'

export { DataError } from './data/read.ts'
export type { Message } from './data/types.ts'
export { bootstrap } from './evaluate/bootstrap.ts'
export { type Interval, type Proportion, wilson } from './evaluate/interval.ts'
export {
  judgementsOptions,
  type RewardsOptions,
  rewardsOptions,
  type WinRateOptions,
  winRateOptions,
} from './evaluate/options.ts'
export { writeReport } from './evaluate/report/report.ts'
export type { RewardReport } from './evaluate/reward-report.ts'
export { evaluateRewards } from './evaluate/rewards.ts'
export { signTest } from './evaluate/sign-test.ts'
export { type Comparison, type WinRate, winRate } from './evaluate/win-rate.ts'
export { evaluateWinRate, type WinRateReport } from './evaluate/winrate.ts'
export { generate } from './infer/generate.ts'
export { type GenerateOptions, generateOptions, type Reply, type ResolvedGenerateOptions } from './infer/options.ts'
export { OptionError } from './options/validate.ts'
export { type EngineReport, inspectEngine } from './tensor/engine.ts'
export { type ResolvedTrainOptions, type TrainOptions, trainOptions } from './train/options.ts'
export type { Evaluation, Progress, Run, StepMetrics, Summary, TrainHooks } from './train/run.ts'

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
