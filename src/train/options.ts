import { z } from 'zod'
import { feedbackOptions, lengthOptions, onBadRowOption } from '../data/options.ts'
import { completeLoss, foreignOptions, lossOptions } from '../loss/table.ts'
import { deviceDeclaration, deviceDescription, deviceSchema, precisionDescription } from '../options/device.ts'
import { nested, numberOr, optionGroup, switchOr, textList } from '../options/option.ts'

const essentials = optionGroup('Model and data')
const adapters = optionGroup('Adapter')
const optimization = optionGroup('Optimization')
const rows = optionGroup('Rows')
const evaluation = optionGroup('Evaluation')
const running = optionGroup('Run')

const positive = () => z.number().positive()
const share = () => z.number().min(0).lt(1)
const count = () => z.number().int().min(1)
const folder = () => z.string().min(1)

/**
 * Every option of a training run. Flags, `--config` files, their JSON Schema, the help and docs/options.md come from this table. Defaults
 * are those of the paper's later versions (arXiv 2402.01306v4: AdamW, 5e-6, batch 32) and torch's where it names none.
 */
export const trainOptions = z.strictObject({
  model: essentials(
    '--model <folder>',
    'Folder of the starting model, in Hugging Face format, or org/name[@revision] on the hub',
    folder(),
  ),
  data: essentials(
    '--data <file...>',
    'Feedback: files, folders, globs or addresses of JSONL, JSON, CSV or Parquet, or org/name[@revision][:path] on the hub; docs/data.md has all shapes',
    textList(),
  ),
  output: essentials('--output <folder>', 'Run directory to write', folder().optional(), 'runs/<loss>-<time>'),
  reference: essentials(
    '--reference <folder>',
    'Reference model; none: no reference (as --reference-free)',
    folder().optional(),
    'the starting model',
  ),
  referenceMode: essentials(
    '--reference-mode <mode>',
    'How the reference is had: computed ahead and cached, or from a copy in memory; auto: cached, unless it follows the policy',
    z.enum(['auto', 'cache', 'copy']).default('auto'),
  ),
  referenceSync: nested('A reference that follows the policy (TR-DPO)', {
    every: essentials(
      '--sync-reference-every <steps>',
      'Move the reference towards the policy after every so many steps (TR-DPO)',
      count().optional(),
      'never',
    ),
    mixing: essentials(
      '--reference-mixing <share>',
      'What share of the policy the moved reference is; 1: the policy',
      z.number().positive().max(1).default(0.6),
    ),
  }),
  chatTemplate: essentials(
    '--chat-template <file>',
    'Jinja chat template, saved with the result',
    folder().optional(),
    "the model's own",
  ),

  loss: nested('What is optimised', lossOptions).transform((loss, context) => {
    for (const { name, problem } of foreignOptions(loss))
      context.addIssue({ code: 'custom', path: [name], message: problem })
    return completeLoss(loss)
  }),

  base: adapters(
    '--base <folder>',
    'Base model, where --model is the folder of an adapter to continue',
    folder().optional(),
    'the one that the adapter names',
  ),
  adapter: nested('A low-rank adapter that is trained in place of the weights', {
    type: adapters(
      '--adapter <type>',
      'Train an adapter: LoRA, or DoRA, which also learns the length of each row; none: all weights',
      z.enum(['none', 'lora', 'dora']).optional(),
      'lora where another option of the adapter is given, else none',
    ),
    rank: adapters('--lora-r <rank>', 'Rank of the adapter', count().optional(), '16'),
    alpha: adapters(
      '--lora-alpha <number>',
      'The adapter is scaled by alpha / r',
      positive().optional(),
      'twice the rank',
    ),
    dropout: adapters(
      '--lora-dropout <share>',
      "Share of the adapter's inputs set to 0 in training",
      share().optional(),
      '0',
    ),
    targetModules: adapters(
      '--lora-target-modules <name...>',
      'Ends of the names of adapted modules, or one regular expression for whole names, or all-linear',
      textList().optional(),
      'all-linear',
    ),
    rslora: adapters('--use-rslora', 'Scale by alpha / sqrt(r) instead', z.boolean().optional(), 'false'),
    modulesToSave: adapters(
      '--lora-modules-to-save <name...>',
      'Modules trained in full and stored with the adapter',
      textList().optional(),
      'none',
    ),
    bias: adapters(
      '--lora-bias <which>',
      'Biases that are trained: none, all, or those of adapted modules',
      z.enum(['none', 'all', 'lora_only']).optional(),
      'none',
    ),
  }),
  loadIn: adapters(
    '--load-in <bits>',
    'Store the frozen base model in 4 bits (NF4, as in QLoRA) or 8',
    z.enum(['4bit', '8bit']).optional(),
    'the type of matrix products',
  ),
  doubleQuantization: adapters(
    '--double-quantization',
    'Store the scales of a quantised base model in 8 bits too',
    z.boolean().default(true),
  ),

  epochs: optimization('--epochs <count>', 'Passes over the data', count().default(1)),
  maxSteps: optimization(
    '--max-steps <count>',
    'Stop after this many optimiser steps',
    count().optional(),
    'all epochs',
  ),
  batchSize: optimization(
    '--batch-size <rows>',
    'Rows of one optimiser step, over all micro-batches',
    count().default(32),
  ),
  optimizer: nested('AdamW', {
    type: optimization(
      '--optim <name>',
      'AdamW with moments in 32 bits, or in 8, which takes 6 bytes a weight less (embeddings and small weights stay in 32)',
      z.enum(['adamw', 'adamw_8bit']).default('adamw'),
    ),
    learningRate: optimization('--lr, --learning-rate <number>', 'Highest learning rate', positive().default(5e-6)),
    weightDecay: optimization('--weight-decay <number>', 'Decoupled weight decay', z.number().min(0).default(0)),
    beta1: optimization('--adam-beta1 <number>', 'Decay of the first moment', share().default(0.9)),
    beta2: optimization('--adam-beta2 <number>', 'Decay of the second moment', share().default(0.999)),
    epsilon: optimization('--adam-epsilon <number>', 'Added to the denominator', positive().default(1e-8)),
    maxGradNorm: optimization(
      '--max-grad-norm <number>',
      'Gradients are scaled down to this norm; 0: never',
      z.number().min(0).default(1),
    ),
  }),
  schedule: nested('How the learning rate moves', {
    type: optimization(
      '--lr-scheduler <name>',
      'Course of the learning rate after its warm-up: to 0 in a line or a cosine, or constant',
      z.enum(['linear', 'constant', 'cosine']).default('linear'),
    ),
    warmup: optimization(
      '--warmup <number>',
      'Warm-up: a share of all steps where below 1, else a number of steps',
      z.number().min(0).default(0.1),
    ),
  }),

  ...lengthOptions,
  strict: rows(
    '--strict',
    'Stop where a row would be cut or skipped, rather than report it',
    z.boolean().default(false),
  ),
  onBadRow: onBadRowOption,
  feedback: feedbackOptions,

  evaluation: nested('Held-out rows, scored before and after training', {
    data: evaluation(
      '--eval-data <file...>',
      'Feedback file or files to evaluate on',
      textList().optional(),
      'a share of the training data',
    ),
    split: evaluation(
      '--eval-split <share>',
      'Share of the rows held out where no --eval-data is given; 0: none',
      share().default(0.05),
    ),
    rows: evaluation(
      '--eval-rows <count>',
      'Most held-out rows to score, chosen at random with the same share of both labels; 0: all',
      z.number().int().min(0).default(1000),
    ),
    every: evaluation(
      '--eval-every <steps>',
      'Also evaluate after every so many steps',
      count().optional(),
      'only at start and end',
    ),
    metric: evaluation(
      '--eval-metric <name>',
      'What the best evaluation is judged by',
      z.enum(['loss', 'accuracy', 'margin', 'area-under-curve']).default('loss'),
    ),
    patience: evaluation(
      '--patience <count>',
      'Stop early after so many evaluations in a row that were no better than the best before',
      count().optional(),
      'all steps are done',
    ),
    keepBest: evaluation(
      '--keep-best',
      'Also keep the model of the best evaluation, in best/ of the run directory',
      z.boolean().default(false),
    ),
  }),
  samples: nested('Replies to fixed prompts, before, during and after training', {
    prompts: evaluation('--sample-prompts <count>', 'Prompts to answer; 0: none', z.number().int().min(0).default(4)),
    maxTokens: evaluation('--sample-max-tokens <tokens>', 'Longest sampled reply', count().default(64)),
  }),

  checkpoint: nested('What an interrupted run resumes from', {
    every: running('--save-every <steps>', 'Write a checkpoint after every so many steps', count().default(100)),
    keep: running('--save-total-limit <count>', 'Checkpoints to keep, the newest', count().default(2)),
  }),
  device: running(deviceDeclaration, deviceDescription, deviceSchema()),
  precision: running('--precision <type>', precisionDescription, z.enum(['auto', 'float32', 'bf16']).default('auto')),
  tf32: running(
    '--tf32',
    'Let a GPU round the factors of float32 products to 10 bits: faster, less exact',
    z.boolean().default(false),
  ),
  deterministic: running(
    '--deterministic',
    'On a GPU, only operators that give the same bits every time, so that a resumed run is bit-exact; slower',
    z.boolean().default(false),
  ),
  microBatchTokens: running(
    '--micro-batch-tokens <tokens>',
    'Tokens of one forward and backward pass, less takes less memory; auto: 2048 on the processor, on a GPU as many as fit, up to 16384',
    numberOr(count(), 'auto').default('auto'),
  ),
  gradientCheckpointing: running(
    '--gradient-checkpointing [auto]',
    'Keep only the inputs of blocks for the backward pass and compute the rest again: less memory, a third more time; auto: where the rest would not fit in memory',
    switchOr('auto').default('auto'),
  ),
  seed: running('--seed <number>', 'Seed of everything random', z.number().int().min(0).default(0)),
  threads: running('--threads <count>', 'Processor threads', count().optional(), 'one a physical core'),
  cache: running(
    '--cache <folder>',
    'Where token ids, and log-probabilities under the reference, are kept between runs',
    folder().optional(),
    '~/.cache/prospect',
  ),
})

/** What callers give: every option but model and data may be left out. */
export type TrainOptions = z.input<typeof trainOptions>
/** The same with all defaults in place. */
export type ResolvedTrainOptions = z.output<typeof trainOptions>
