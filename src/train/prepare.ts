import { createHash } from 'node:crypto'
import { type Choice, chooseRows } from '../data/choose.ts'
import { type Dataset, type DatasetFacts, openDataset } from '../data/dataset.ts'
import { allRowsOf, choiceOptionsOf, readOptionsOf } from '../data/options.ts'
import { originText } from '../data/origin.ts'
import { makePlan, type Plan } from '../data/plan.ts'
import { heldOutRows, sampledRows } from '../data/split.ts'
import { originOf, type RowTable } from '../data/table.ts'
import type { Tokenizer } from '../data/tokenizer.ts'
import type { Example } from '../data/types.ts'
import type { Objective } from '../loss/objective.ts'
import type { ModelConfig } from '../model/config.ts'
import { OptionError } from '../options/validate.ts'
import type { ResolvedTrainOptions } from './options.ts'
import type { Progress, TrainHooks } from './run.ts'

/** The rows of a run: what trains, what is held out, and in which order. */
export interface PreparedData {
  train: readonly Example[]
  heldOut: readonly Example[]
  plan: Plan
  heldOutPlan: Plan | null
  /** What data.json says: counts, class balance, what was cut or skipped, hashes. */
  facts: DataFacts
}

export interface DataFacts {
  train: SetFacts
  /** What is scored, of so many rows that are held out. */
  heldOut: SetFacts & { of: number }
  steps: number
  stepsPerEpoch: number
  /** SHA-256 over all token ids and labels, in order. */
  hash: string
  /** SHA-256 of the starting model's configuration and weights. */
  model: string
  sources: unknown[]
}

interface SetFacts {
  rows: number
  desirable: number
  undesirable: number
  /** Sums of the rows' own weights. */
  desirableWeight: number
  undesirableWeight: number
  prompts: number
  promptTokens: number
  completionTokens: number
}

/** Reads, tokenises, splits and plans the rows that the options name. */
export async function prepareData(
  options: ResolvedTrainOptions,
  objective: Objective,
  tokenizer: Tokenizer,
  modelHash: string,
  hooks: PrepareHooks = {},
): Promise<PreparedData> {
  const { progress } = hooks
  refuseControls(objective, tokenizer, options)
  const all = await chosenRows(options, options.data, objective, tokenizer, hooks)
  const given = options.evaluation.data
  const own = given ? null : split(all, options)
  const train = examplesOf(all, placesOf(all, own, 0))
  const testing = { ...options, feedback: allRowsOf(options.feedback) }
  const other = given ? await chosenRows(testing, given, objective, tokenizer, hooks) : all
  const held = placesOf(other, own, 1)
  const heldOut = examplesOf(other, scored(other, held, options))
  if (heldOut.length < held.length)
    progress?.log(`${heldOut.length} of ${held.length} held-out rows are scored (--eval-rows)`)
  const sources = [all, ...(given ? [other] : [])].map(({ dataset, choice, unpaired }) => ({
    ...dataset.facts,
    findings: choice.findings,
    ...(unpaired > 0 && { unpaired }),
  }))
  const { seed, epochs, batchSize, maxSteps } = options
  const { mismatched, mismatchedBlock, pairs } = objective.needs
  const wanted = { mismatched, mismatchedBlock, pairs }
  const plan = makePlan({ examples: train, seed, epochs, batchSize, maxSteps, ...wanted })
  const heldOutPlan =
    heldOut.length > 0
      ? makePlan({ examples: heldOut, seed, epochs: 1, batchSize: Math.max(2, batchSize), ...wanted })
      : null
  const facts = {
    train: setFacts(train),
    heldOut: { ...setFacts(heldOut), of: held.length },
    steps: plan.steps,
    stepsPerEpoch: plan.stepsPerEpoch,
    hash: hashOf([train, heldOut]),
    model: modelHash,
    sources,
  }
  return { train, heldOut, plan, heldOutPlan, facts }
}

type PrepareHooks = Pick<TrainHooks, 'progress' | 'signal'>

/** Rows that were read, and which of them are used. */
interface ChosenRows {
  dataset: Dataset
  choice: Choice
  /** Rows left out because they are no half of a pair. */
  unpaired: number
}

async function chosenRows(
  options: ResolvedTrainOptions,
  sources: readonly string[],
  objective: Objective,
  tokenizer: Tokenizer,
  { progress, signal }: PrepareHooks,
): Promise<ChosenRows> {
  const { maxLength, maxPromptLength, strict, seed, feedback, cache } = options
  const onBadRow = strict ? 'error' : options.onBadRow
  const needLabels = objective.needs.labels
  const choices = choiceOptionsOf(feedback, seed)
  const bar = megabyteBar(progress, 'tokenising (MB)')
  try {
    const dataset = await openDataset(
      {
        sources,
        read: { onBadRow, needLabels, seed, ...readOptionsOf(feedback), ...(cache !== undefined && { cache }) },
        tokenize: {
          maxLength,
          maxPromptLength,
          strict,
          onBadRow,
          ...(objective.needs.control && { control: objective.needs.control }),
          cut: feedback.truncate === 'prompt-end' ? 'prompt-end' : 'prompt-start',
        },
        mask: feedback.personal === 'mask',
        signatures: feedback.nearDuplicates !== undefined,
        // What imitates its rows must not imitate those that people rejected.
        desirableOnly: !needLabels,
        ...(cache !== undefined && { cache }),
        ...(signal && { signal }),
        progress: bar,
      },
      tokenizer,
    )
    for (const line of lossText(dataset.facts, maxLength)) progress?.log(line)
    const { leftOut } = dataset.facts
    if (leftOut > 0) progress?.log(`${leftOut} thumbs-down rows are left out: ${objective.name} imitates its rows`)
    if (leftOut > 0 && dataset.store.length === 0)
      throw new Error(`${sources.join(', ')}: all rows are thumbs-down; ${objective.name} has none to imitate`)
    const choice = chooseRows(dataset.store.table, choices)
    if (choice.rows.length === 0) throw new Error(`${sources.join(', ')}: no rows are left: ${droppedText(choice)}`)
    if (!objective.needs.pairs) return { dataset, choice, unpaired: 0 }
    const pairs = wholePairs(choice, dataset.store.table)
    const unpaired = choice.rows.length - pairs.rows.length
    if (pairs.rows.length === 0) throw new Error(noPairs(sources, objective, choice))
    if (unpaired > 0)
      progress?.log(`${unpaired} rows are left out: they are no half of a pair, and ${objective.name} compares pairs`)
    return { dataset, choice: pairs, unpaired }
  } finally {
    bar.stop()
  }
}

/** What limits of length took off the rows, and records that could not be used. */
export function lossText(
  { files, tokenizing }: Pick<DatasetFacts, 'files' | 'tokenizing'>,
  maxLength: number,
): string[] {
  const { promptsCut, completionsCut, cut } = tokenizing
  const skipped = files.reduce((sum, { skipped }) => sum + skipped, tokenizing.skipped)
  const [why] = [...files.flatMap(({ skippedBecause }) => skippedBecause), ...tokenizing.skippedBecause]
  const wasCut = `${promptsCut} prompts and ${completionsCut} completions were cut to --max-length ${maxLength}, the first of them ${cut[0]}`
  return [
    ...(promptsCut + completionsCut > 0 ? [wasCut] : []),
    ...(skipped > 0 ? [`${skipped} records or rows were skipped (--on-bad-row skip), the first: ${why}`] : []),
  ]
}

/** A bar that counts megabytes, from when their number is known. */
function megabyteBar(progress: Progress | undefined, label: string) {
  let bar: ReturnType<Progress['start']> | undefined
  return {
    start: (bytes: number) => {
      bar = progress?.start(Math.ceil(bytes / 1e6), label)
    },
    update: (bytes: number) => bar?.update(Math.floor(bytes / 1e6)),
    stop: () => bar?.stop(),
  }
}

function droppedText({ findings }: Choice): string {
  const dropped = Object.entries(findings).filter(([, { dropped }]) => dropped > 0)
  return dropped.map(([name, { dropped }]) => `${dropped} were dropped by ${name}`).join(', ') || 'there were none'
}

/** For each chosen row, whether it is held out. Rows of one prompt, as text or as token ids, and of one pair are on one side. */
function split({ dataset, choice }: ChosenRows, { evaluation, seed, feedback }: ResolvedTrainOptions): Uint8Array {
  const { table, promptGroups } = dataset.store
  const { columns } = table
  const of = (values: ArrayLike<number>) => Int32Array.from(choice.rows, (row) => values[row]!)
  const { splitBy, stratify } = feedback
  const byColumn = splitBy !== 'prompt' && splitBy !== 'time'
  const lacking = byColumn ? columns.group : splitBy === 'time' ? columns.time : null
  const missing = lacking && choice.rows.find((row) => Number.isNaN(lacking[row]!) || lacking[row] === -1)
  if (missing !== null && missing !== undefined && evaluation.split > 0)
    throw new Error(`${originText(originOf(table, missing))}: no ${splitBy}, and --split-by ${splitBy} is set`)
  return heldOutRows(
    {
      together: [of(promptGroups), of(columns.prompt), of(columns.pair), ...(byColumn ? [of(columns.group)] : [])],
      label: of(columns.label),
      time: Float64Array.from(choice.rows, (row) => columns.time[row]!),
    },
    { share: evaluation.split, seed, by: splitBy === 'time' ? 'time' : 'random', stratify },
  )
}

/** Which of the chosen rows are on one side of a split; all where there is none. */
function placesOf({ choice }: ChosenRows, held: Uint8Array | null, side: number): Int32Array {
  const places = Int32Array.from(choice.rows, (_, i) => i)
  return held === null ? places : places.filter((i) => held[i] === side)
}

/** At most `--eval-rows` of the held-out rows, with both labels in their shares; pairs stay whole. */
function scored({ dataset, choice }: ChosenRows, held: Int32Array, { evaluation, seed }: ResolvedTrainOptions) {
  if (evaluation.rows === 0 || held.length <= evaluation.rows) return held
  const { columns } = dataset.store.table
  const of = (values: ArrayLike<number>) => Int32Array.from(held, (i) => values[choice.rows[i]!]!)
  const chosen = sampledRows({ together: [of(columns.pair)], label: of(columns.label) }, evaluation.rows, seed)
  return held.filter((_, i) => chosen[i] === 1)
}

/** The examples at some places among the chosen rows, numbered from 0. */
function examplesOf({ dataset, choice }: ChosenRows, places: Int32Array): Example[] {
  return Array.from(places, (i, index) => dataset.store.example(choice.rows[i]!, index, choice.weights[i]!))
}

function setFacts(examples: readonly Example[]): SetFacts {
  const sum = (of: (example: Example) => number) => examples.reduce((total, example) => total + of(example), 0)
  const desirable = sum((example) => Number(example.desirable))
  const weight = (label: boolean) => sum(({ desirable, weight = 1 }) => (desirable === label ? weight : 0))
  return {
    rows: examples.length,
    desirable,
    undesirable: examples.length - desirable,
    desirableWeight: weight(true),
    undesirableWeight: weight(false),
    prompts: new Set(examples.map(({ promptGroup }) => promptGroup)).size,
    promptTokens: sum(({ prompt }) => prompt.length),
    completionTokens: sum(({ completion }) => completion.length),
  }
}

function hashOf(sets: readonly (readonly Example[])[]): string {
  const hash = createHash('sha256')
  for (const examples of sets) {
    for (const { prompt, completion, desirable, weight } of examples) {
      hash
        .update(Uint32Array.of(prompt.length, completion.length, Number(desirable)))
        .update((weight ?? 1) === 1 ? new Uint8Array() : Float64Array.of(weight!))
        .update(prompt)
        .update(completion)
    }
  }
  return hash.digest('hex')
}

/** The chosen rows whose other half is chosen too. */
function wholePairs(choice: Choice, { columns }: RowTable): Choice {
  const halves = new Map<number, number>()
  for (const row of choice.rows) halves.set(columns.pair[row]!, (halves.get(columns.pair[row]!) ?? 0) + 1)
  const isWhole = (row: number) => columns.pair[row]! >= 0 && halves.get(columns.pair[row]!) === 2
  const weights = choice.weights.filter((_, i) => isWhole(choice.rows[i]!))
  return { ...choice, rows: choice.rows.filter(isWhole), weights }
}

function noPairs(files: readonly string[], { name }: Objective, choice: Choice): string {
  const dropped = Object.values(choice.findings).some(({ dropped }) => dropped > 0)
  return (
    `${files.join(', ')}: no pairs, and ${name} compares a chosen with a rejected reply to one prompt: ` +
    'give rows {prompt, chosen, rejected}, or learn from single judged replies with --loss kto' +
    (dropped ? ` (of the rows, ${droppedText(choice)}; a pair needs both of its own)` : '')
  )
}

/** Texts that the tokenizer does not tell apart (one that has no token for either) would make good and bad rows the same. */
function refuseControls(
  { name, needs: { control } }: Objective,
  tokenizer: Tokenizer,
  { feedback }: ResolvedTrainOptions,
): void {
  if (!control) return
  if (feedback.truncate === 'prompt-end')
    throw new OptionError(
      `feedback.truncate: prompt-end would cut off what ${name} appends to prompts; give prompt-start or drop`,
    )
  const { desirable, undesirable } = control
  const [good, bad] = [desirable, undesirable].map((text) => tokenizer.encode(text, { continues: true }).join())
  if (good !== bad) return
  throw new OptionError(
    `loss.desirableControl and loss.undesirableControl: ${JSON.stringify(desirable)} and ${JSON.stringify(undesirable)} are the same tokens to this model's ` +
      `tokenizer (${good || 'none'}): give texts that it tells apart, such as two words that it knows`,
  )
}

/** What a user should know of the data before it is trained on. */
export function dataWarnings(
  { train, plan }: PreparedData,
  objective: Objective,
  {
    reference,
    referenceMode,
    referenceSync,
  }: Pick<ResolvedTrainOptions, 'reference' | 'referenceMode' | 'referenceSync'>,
  { maxPositions }: Pick<ModelConfig, 'maxPositions'>,
): string[] {
  const warnings: string[] = []
  const desirable = train.filter((example) => example.desirable).length
  if (objective.needs.labels && (desirable === 0 || desirable === train.length)) {
    const [kind, other] = desirable === 0 ? ['thumbs-down', 'thumbs-up'] : ['thumbs-up', 'thumbs-down']
    warnings.push(
      `all ${train.length} rows are ${kind}: ${objective.name} needs both kinds to tell them apart. Check how labels are written ` +
        `(label: true or false), add ${other} rows, or imitate thumbs-up rows with --loss sft`,
    )
  }
  if (!objective.needs.reference) {
    const given = [
      ['--reference', reference],
      ['--reference-mode', referenceMode === 'auto' ? undefined : referenceMode],
      ['--sync-reference-every', referenceSync.every],
    ] as const
    for (const [flag, value] of given)
      if (value !== undefined) warnings.push(`${flag} ${value}: ${objective.name} uses no reference model`)
  }
  const longest = train.reduce((most, { prompt, completion }) => Math.max(most, prompt.length + completion.length), 0)
  if (longest > maxPositions)
    warnings.push(
      `the longest row has ${longest} tokens, and the model was made for ${maxPositions}: lower --max-length`,
    )
  if (objective.needs.mismatched && plan.steps > 0 && plan.batch(0).partners.every((partner) => partner === null)) {
    warnings.push('all rows share one prompt or one completion, so no mismatched pairs exist: z0 stays 0')
  }
  return warnings
}
