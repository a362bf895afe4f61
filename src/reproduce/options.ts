import { z } from 'zod'
import { optionGroup, textList } from '../options/option.ts'

const running = optionGroup('Run')
const given = optionGroup('Your model and data')

const path = () => z.string().min(1)
const count = () => z.number().int().min(1)

/** In the order in which `all` runs them. */
export const experimentNames = [
  'learning-rates',
  'learning-rates-after-sft',
  'methods',
  'one-y-per-x',
  'imbalance',
  'noise',
  'contradictory',
  'ablations',
  'sizes',
] as const

export type ExperimentName = (typeof experimentNames)[number]

/** Every option of `prospect reproduce`. */
export const reproduceOptions = z
  .strictObject({
    experiment: running(
      '--experiment <name>',
      'Which of the experiments',
      z.enum(['all', ...experimentNames]).default('all'),
    ),
    only: running(
      '--only <method...>',
      'Only arms of these methods, as tables name them: KTO DPO base ...',
      textList().optional(),
      'all',
    ),
    quick: running(
      '--quick',
      'One seed, fewer rows and questions: a look at all in minutes',
      z.boolean().default(false),
    ),
    seeds: running(
      '--seeds <count>',
      'Times that each is trained, with other feedback',
      count().optional(),
      '5, or 1 with --quick',
    ),
    output: running(
      '--output <folder>',
      'Where models, tables and figures are kept; what is there is not done again',
      path().default('runs/reproduce'),
    ),
    threads: running('--threads <count>', 'Processor threads', count().optional(), 'one a physical core'),

    model: given(
      '--model <folder...>',
      "Models to start from: folders or names on the hub. The first is every experiment's, all are sizes'",
      textList().optional(),
      "the demo's shop makes its own",
    ),
    data: given(
      '--data <file...>',
      'Feedback on replies, several to a prompt for pairs',
      textList().optional(),
      "the demo's shop makes its own",
    ),
    training: given(
      '--training <file>',
      'YAML file with options of `prospect train` for all arms: learning rate, batch size, adapter, lengths ...',
      path().optional(),
      'its defaults',
    ),
    heldOut: given(
      '--held-out <share>',
      'Share of the prompts that arms are compared on',
      z.number().positive().lt(1).default(0.2),
    ),
    judge: given(
      '--judge <judge>',
      'As for `prospect evaluate winrate`: compares replies with the thumbs-up ones in the data',
      path().optional(),
      'none: the area under the ROC curve of held-out thumbs is measured',
    ),
    judgeModel: given(
      '--judge-model <name>',
      "The endpoint's name for the model that judges",
      path().default('gpt-4-0613'),
    ),
    maxPrompts: given('--max-prompts <count>', 'Held-out prompts that are answered and judged', count().default(512)),
    maxTokens: given('--max-tokens <tokens>', 'Longest of these replies', count().default(256)),
    maxCost: given(
      '--max-cost <dollars>',
      'Stop before more is spent on judging one arm, by the prices given',
      z.number().positive().optional(),
      'no limit',
    ),
    inputPrice: given('--input-price <dollars>', 'Price of a million input tokens', z.number().min(0).default(30)),
    outputPrice: given('--output-price <dollars>', 'Price of a million output tokens', z.number().min(0).default(60)),
  })
  .refine(({ model, data }) => (model === undefined) === (data === undefined), {
    path: ['model'],
    message: "--model and --data go together: give both, or neither for the demo's shop",
  })
  .refine(({ model, judge, training }) => model !== undefined || (judge ?? training) === undefined, {
    path: ['judge'],
    message: "--judge and --training are for your own --model and --data; the demo's shop has its own",
  })

export type ResolvedReproduceOptions = z.output<typeof reproduceOptions>
