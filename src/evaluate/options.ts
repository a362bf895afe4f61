import { z } from 'zod'
import { readingFeedbackOptions } from '../data/options.ts'
import { deviceDeclaration, deviceDescription, deviceSchema, precisionDescription } from '../options/device.ts'
import { optionGroup, textList } from '../options/option.ts'

const compared = optionGroup('What is compared')
const judging = optionGroup('Judge')
const limits = optionGroup('Limits')
const sampling = optionGroup('Sampling')
const given = optionGroup('Model and data')
const running = optionGroup('Run')

const path = () => z.string().min(1)
const count = () => z.number().int().min(1)
const price = () => z.number().min(0)

/** Every option of `prospect evaluate winrate`. */
export const winRateOptions = z.strictObject({
  candidate: compared(
    '--candidate <path>',
    'Model folder, or file of replies: JSONL with prompt and completion',
    path(),
  ),
  baseline: compared(
    '--baseline <path>',
    'Model folder or file of replies to compare with',
    path().optional(),
    'the replies in --prompts',
  ),
  adapter: compared('--adapter <folder>', 'Folder of an adapter to put on the candidate', path().optional(), 'none'),
  prompts: compared(
    '--prompts <file>',
    'JSONL file of prompts, for models; its completions are the baseline where none is given',
    path().optional(),
    'those of the replies',
  ),
  maxPrompts: compared('--max-prompts <count>', 'Compare on the first so many prompts', count().default(512)),
  output: compared(
    '--output <folder>',
    'Where judgements, replies and the result are kept',
    path().default('evaluations/winrate'),
  ),

  judge: judging(
    '--judge <judge>',
    'URL of an OpenAI-compatible endpoint; a module or executable that scores replies; or `exact`: final answers as in GSM8K',
    path(),
  ),
  judgeModel: judging(
    '--judge-model <name>',
    "The endpoint's name for the model that judges",
    path().default('gpt-4-0613'),
  ),
  judgePrompt: judging(
    '--judge-prompt <file>',
    'Text with {prompt}, {first} and {second} that asks for "Response 1", "Response 2" or "Tie"',
    path().optional(),
    "the paper's question",
  ),
  order: judging(
    '--order <order>',
    'Which reply is shown first: drawn by seed, or one judgement each way round',
    z.enum(['shuffle', 'both']).default('shuffle'),
  ),
  seed: judging('--seed <number>', 'Seed of order, sampling and intervals', z.number().int().min(0).default(0)),

  concurrency: limits('--concurrency <requests>', 'Requests under way at once', count().default(8)),
  perMinute: limits(
    '--requests-per-minute <requests>',
    'Most requests started in a minute',
    count().optional(),
    'no limit',
  ),
  attempts: limits('--attempts <count>', 'Tries of a request before the command stops', count().default(8)),
  timeout: limits('--timeout <seconds>', 'Longest wait for an answer', z.number().positive().default(60)),
  maxCost: limits(
    '--max-cost <dollars>',
    'Stop before more is spent, by the prices given',
    z.number().positive().optional(),
    'no limit',
  ),
  inputPrice: limits('--input-price <dollars>', 'Price of a million input tokens', price().default(30)),
  outputPrice: limits('--output-price <dollars>', 'Price of a million output tokens', price().default(60)),

  maxTokens: sampling('--max-tokens <tokens>', 'Longest reply of a model', count().default(256)),
  temperature: sampling('--temperature <number>', 'Temperature of a model', z.number().positive().default(0.7)),
  topP: sampling('--top-p <share>', 'Nucleus that a model samples from', z.number().positive().max(1).default(0.95)),

  loadIn: running(
    '--load-in <bits>',
    "Store models' weights in 4 bits (NF4) or 8: less memory, less exact",
    z.enum(['4bit', '8bit']).optional(),
    'as the models are stored',
  ),
  device: running(deviceDeclaration, deviceDescription, deviceSchema()),
  precision: running('--precision <type>', precisionDescription, z.enum(['auto', 'float32', 'bf16']).default('auto')),
  threads: running('--threads <count>', 'Processor threads', count().optional(), 'one a physical core'),
})

/** What callers of evaluateWinRate() give. */
export type WinRateOptions = z.input<typeof winRateOptions>
export type ResolvedWinRateOptions = z.output<typeof winRateOptions>

/** Every option of `prospect evaluate judgements`. */
export const judgementsOptions = z.strictObject({
  judgements: compared(
    '--judgements <file>',
    "JSONL file: judgements.jsonl of `prospect evaluate winrate`, or results of HALOs' compare.py",
    path(),
  ),
})

/** Every option of `prospect evaluate rewards`. */
export const rewardsOptions = z
  .strictObject({
    run: given(
      '--run <folder>',
      'Run directory: its model, its starting model as the reference, its beta',
      path().optional(),
      '--model and --reference are used',
    ),
    model: given('--model <folder>', 'Folder of the trained model', path().optional(), "the run's"),
    adapter: given('--adapter <folder>', 'Folder of an adapter to put on --model', path().optional(), 'none'),
    reference: given(
      '--reference <folder>',
      'Folder of the reference model',
      path().optional(),
      "the run's; with --adapter, --model without it",
    ),
    beta: given(
      '--beta <number>',
      'What log-ratios are multiplied by',
      z.number().positive().optional(),
      "the run's, else 0.1",
    ),
    data: given('--data <file...>', 'Judged rows that were not trained on', textList()),
    output: given(
      '--output <folder>',
      'Where rewards.json and rows.jsonl are written',
      path().default('evaluations/rewards'),
    ),
    feedback: readingFeedbackOptions,
    maxLength: given(
      '--max-length <tokens>',
      'Longest prompt and completion together',
      count().optional(),
      "the run's, else 2048",
    ),
    maxPromptLength: given(
      '--max-prompt-length <tokens>',
      'Longest prompt where the row is over --max-length',
      count().optional(),
      "the run's, else half of --max-length",
    ),
    klPrompts: running(
      '--kl-prompts <count>',
      'Prompts that the model answers to estimate its KL from the reference; 0: none',
      z.number().int().min(0).default(64),
    ),
    maxTokens: running('--max-tokens <tokens>', 'Longest of these replies', count().default(128)),
    list: running('--list <count>', 'Most rows in each list of rows to look at', count().default(50)),
    seed: running('--seed <number>', 'Seed of the replies and of mismatched pairs', z.number().int().min(0).default(0)),
    device: running(deviceDeclaration, deviceDescription, deviceSchema()),
    precision: running('--precision <type>', precisionDescription, z.enum(['auto', 'float32', 'bf16']).default('auto')),
    threads: running('--threads <count>', 'Processor threads', count().optional(), 'one a physical core'),
  })
  .refine(({ adapter, model }) => adapter === undefined || model !== undefined, {
    path: ['adapter'],
    message: '--adapter goes on the model that --model names',
  })
  .refine(
    ({ run, model, adapter, reference }) => run !== undefined || (model && (adapter ?? reference)) !== undefined,
    {
      path: ['run'],
      message: 'give either --run <folder>, or --model <folder> and --reference <folder> (or --adapter <folder>)',
    },
  )

/** What callers of evaluateRewards() give. */
export type RewardsOptions = z.input<typeof rewardsOptions>
export type ResolvedRewardsOptions = z.output<typeof rewardsOptions>
