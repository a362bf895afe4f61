import { z } from 'zod'
import {
  parseLabelMap,
  parseMap,
  parseThreshold,
  parseWeights,
  shapeNames,
  type ThresholdSpec,
  type Verdict,
} from '../options/feedback-syntax.ts'
import { nested, optionGroup, textList } from '../options/option.ts'

const reading = optionGroup('Reading feedback')
const choosing = optionGroup('Choosing rows')
const cleaning = optionGroup('Cleaning')
const splitting = optionGroup('Split')

const text = () => z.string().min(1)
/** A text that a parser understands; what it throws is what the user reads. */
const understood = (parse: (value: string) => unknown) =>
  text().superRefine((value, context) => {
    try {
      parse(value)
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message })
    }
  })
const share = () => z.number().min(0).max(1)

const readingOptions = {
  map: reading(
    '--map <field=column,...>',
    'Columns that stand for prompt, completion, label, weight ...; dots reach into objects',
    understood(parseMap).optional(),
    'columns of those names',
  ),
  where: reading(
    '--where <sql>',
    'Use only records that satisfy this SQL condition over the columns of the file',
    text().optional(),
    'all',
  ),
  sample: reading(
    '--sample <number>',
    'Use only a random share of the records (below 1), or so many of them',
    z.number().positive().optional(),
    'all',
  ),
  limit: reading('--limit <count>', 'Use only the first so many records', z.number().int().min(1).optional(), 'all'),
  shape: reading('--shape <name>', 'Shape of the records', z.enum(shapeNames).optional(), 'detected for each record'),
  labels: reading(
    '--labels <value=verdict,...>',
    'What labels mean that are not known by themselves: great=up,meh=down,neutral=skip',
    understood(parseLabelMap).optional(),
    'true/false, 1/0, up/down, good/bad ...',
  ),
  threshold: reading(
    '--threshold <score>',
    'Score from which a reply is thumbs up: a number, mean, median, or quantiles:0.25 for the top and bottom quarters',
    understood(parseThreshold).optional(),
    'scores other than 0 and 1 are an error',
  ),
  scoreName: reading(
    '--score-name <name>',
    'Of several named scores of a reply, the one that judges',
    text().optional(),
    'the only one',
  ),
  ranked: reading(
    '--ranked <use>',
    'Of ranked answers: the best and the worst, the better and the worse half, all pairs, or each with the next (as HALOs does)',
    z.enum(['best-worst', 'halves', 'pairs', 'neighbours']).default('best-worst'),
  ),
  minScoreRatio: reading(
    '--min-score-ratio <number>',
    'SHP: smallest ratio of the two scores',
    z.number().min(1).default(2),
  ),
  maxPairsPerPrompt: reading(
    '--max-pairs-per-prompt <count>',
    'SHP: most pairs of one post',
    z.number().int().min(1).default(5),
  ),
}

const readingNames: ReadonlySet<string> = new Set(Object.keys(readingOptions))

/** How judged rows are read, for what does not choose among them. */
export const readingFeedbackOptions = nested('What feedback files hold', readingOptions)

/** How feedback becomes rows. The same for training and for `prospect data`. */
export const feedbackOptions = nested('What feedback files hold and which of it is used', {
  ...readingOptions,

  keepDesirable: choosing('--keep-desirable <share>', 'Share of the thumbs-up rows to keep', share().default(1)),
  keepUndesirable: choosing('--keep-undesirable <share>', 'Share of the thumbs-down rows to keep', share().default(1)),
  onePerPrompt: choosing(
    '--one-per-prompt',
    'Keep one row of each prompt, chosen at random (one y per x)',
    z.boolean().default(false),
  ),
  balance: choosing(
    '--balance <how>',
    'Make both classes weigh the same: drop rows of the larger one, or weigh them less',
    z.enum(['none', 'drop', 'weight']).default('none'),
  ),
  annotatorWeights: choosing(
    '--annotator-weights <name=weight,...>',
    'Weights by annotator; equal: what each annotator weighs in all is the same',
    understood(parseWeights).optional(),
    'all rows alike',
  ),
  halfLife: choosing(
    '--half-life <days>',
    'Days after which a row counts half as much as the newest',
    z.number().positive().optional(),
    'age does not matter',
  ),

  duplicates: cleaning(
    '--duplicates <action>',
    'Rows with the same prompt, completion and label beyond the first',
    z.enum(['keep', 'drop']).default('keep'),
  ),
  nearDuplicates: cleaning(
    '--near-duplicates <similarity>',
    'Drop rows whose texts are this similar to an earlier one with the same label (Jaccard, 0 to 1)',
    z.number().gt(0).max(1).optional(),
    'keep them',
  ),
  contradictions: cleaning(
    '--contradictions <action>',
    'The same prompt and completion with both labels: keep, drop all, keep the majority, or weigh by agreement',
    z.enum(['keep', 'drop', 'majority', 'weight']).default('keep'),
  ),
  empty: cleaning('--empty <action>', 'Empty completions', z.enum(['keep', 'drop']).default('keep')),
  boilerplate: cleaning(
    '--boilerplate <action>',
    'Completions that begin as refusals and disclaimers do',
    z.enum(['keep', 'drop']).default('keep'),
  ),
  personal: cleaning(
    '--personal <action>',
    'E-mail addresses, phone numbers and keys in texts: keep, mask, or drop the row',
    z.enum(['keep', 'mask', 'drop']).default('keep'),
  ),
  truncate: cleaning(
    '--truncate <where>',
    'A prompt that is too long loses its start or its end; or the row is dropped',
    z.enum(['prompt-start', 'prompt-end', 'drop']).default('prompt-start'),
  ),

  splitBy: splitting(
    '--split-by <what>',
    'Hold out whole prompts at random (prompt), the newest (time), or whole values of a column (its name)',
    text().default('prompt'),
  ),
  stratify: splitting(
    '--stratify',
    'Hold out the same share of prompts with thumbs up, thumbs down, and both',
    z.boolean().default(true),
  ),
})

const rows = optionGroup('Rows')
const count = () => z.number().int().min(1)

/** What happens to rows that are too long or cannot be used: for training and for `prospect data inspect`. */
export const lengthOptions = {
  maxLength: rows(
    '--max-length <tokens>',
    'Longest prompt and completion together; what is cut off is reported',
    count().default(2048),
  ),
  maxPromptLength: rows(
    '--max-prompt-length <tokens>',
    'Longest prompt where the row is over --max-length',
    count().default(1024),
  ),
}

export const onBadRowOption = rows(
  '--on-bad-row <action>',
  'A row that cannot be used: stop with an error, or skip and count it',
  z.enum(['error', 'skip']).default('error'),
)

const command = optionGroup('Command')
const data = command(
  '--data <source...>',
  'Feedback: files, folders, globs or addresses of JSONL, JSON, CSV or Parquet',
  textList(),
)
const seed = command('--seed <number>', 'Seed of what is chosen at random', z.number().int().min(0).default(0))
const cache = command(
  '--cache <folder>',
  'Where downloads and token ids are kept',
  text().optional(),
  '~/.cache/prospect',
)

const unlabeled = command(
  '--unlabeled',
  'Rows need no label: examples to imitate, as --loss sft takes them',
  z.boolean().default(false),
)

/** `prospect data inspect`. */
export const inspectOptions = z.strictObject({
  data,
  model: command('--model <folder>', 'Count tokens as this model does', text().optional(), 'characters are counted'),
  html: command('--html <file>', 'Write the report as a page', text().optional(), 'only print it'),
  json: command('--json <file>', 'Write the report as JSON', text().optional(), 'only print it'),
  unlabeled,
  seed,
  cache,
  ...lengthOptions,
  onBadRow: onBadRowOption,
  feedback: feedbackOptions,
})

/** `prospect data convert`. */
export const convertOptions = z.strictObject({
  data,
  output: command('--output <file>', 'File to write: .jsonl, .jsonl.gz or .parquet', text()),
  pairs: command(
    '--pairs',
    'Write the two rows of a comparison as one, with chosen and rejected: for objectives that compare (DPO, IPO ...)',
    z.boolean().default(false),
  ),
  unlabeled,
  seed,
  cache,
  onBadRow: onBadRowOption,
  feedback: feedbackOptions,
})

export type FeedbackOptions = z.output<typeof feedbackOptions>
export type ReadingOptions = z.output<typeof readingFeedbackOptions>

/** The same reading and cleaning of all rows, each weighing the same: for rows to test on, which are not thinned as those to train on are. */
export function allRowsOf(options: FeedbackOptions): FeedbackOptions {
  const { sample: _, limit: __, annotatorWeights: ___, halfLife: ____, ...rest } = options
  return { ...rest, keepDesirable: 1, keepUndesirable: 1, onePerPrompt: false, balance: 'none' }
}

/** Options of training without those that say how feedback is read. */
export function withoutReading<T extends { feedback?: object | undefined }>(options: T): T {
  if (options.feedback === undefined) return options
  const kept = Object.entries(options.feedback).filter(([name]) => !readingNames.has(name))
  return { ...options, feedback: Object.fromEntries(kept) }
}

/** The options in the form that reading takes. */
export function readOptionsOf(options: ReadingOptions & Partial<Pick<FeedbackOptions, 'splitBy'>>) {
  const { map, where, sample, limit, shape, labels, threshold, scoreName, splitBy = 'prompt' } = options
  const { ranked, minScoreRatio, maxPairsPerPrompt } = options
  return {
    ranked,
    minScoreRatio,
    maxPairsPerPrompt,
    ...(where !== undefined && { where }),
    ...(sample !== undefined && { sample }),
    ...(limit !== undefined && { limit }),
    ...(shape !== undefined && { shape }),
    ...(scoreName !== undefined && { scoreName }),
    ...(map !== undefined && { map: parseMap(map) }),
    ...(labels !== undefined && { labels: parseLabelMap(labels) as ReadonlyMap<string, Verdict> }),
    ...(threshold !== undefined && { threshold: parseThreshold(threshold) as ThresholdSpec }),
    ...(splitBy !== 'prompt' && splitBy !== 'time' && { groupColumn: splitBy }),
  }
}

/** The options in the form that choosing takes. */
export function choiceOptionsOf(options: FeedbackOptions, seed: number) {
  const { annotatorWeights, truncate, ...rest } = options
  return {
    ...rest,
    seed,
    tooLong: truncate === 'drop' ? ('drop' as const) : ('cut' as const),
    annotatorWeights: annotatorWeights === undefined ? null : parseWeights(annotatorWeights),
  }
}
