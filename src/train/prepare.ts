import { createHash } from 'node:crypto'
import { makePlan, type Plan } from '../data/plan.ts'
import { readFeedback } from '../data/read.ts'
import { splitByPrompt, tokenizeRows } from '../data/tokenize.ts'
import type { Tokenizer } from '../data/tokenizer.ts'
import type { Example } from '../data/types.ts'
import type { Objective } from '../loss/objective.ts'
import type { ResolvedTrainOptions } from './options.ts'
import type { Progress } from './run.ts'

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
  heldOut: SetFacts
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
  progress?: Progress,
): Promise<PreparedData> {
  const sources: unknown[] = []
  const read = async (files: readonly string[], label: string) => {
    const { maxLength, maxPromptLength, strict } = options
    const onBadRow = strict ? 'error' : options.onBadRow
    const { rows, facts } = await readFeedback([...files], { onBadRow, needLabels: objective.needs.labels })
    // What imitates its rows must not imitate those that people rejected.
    const used = objective.needs.labels ? rows : rows.filter((row) => row.label)
    const leftOut = rows.length - used.length
    if (leftOut > 0) progress?.log(`${leftOut} thumbs-down rows are left out: ${objective.name} imitates its rows`)
    if (used.length === 0)
      throw new Error(`${files.join(', ')}: all rows are thumbs-down; ${objective.name} has none to imitate`)
    const bar = progress?.start(used.length, label)
    const limits = { maxLength, maxPromptLength, strict, onBadRow } as const
    try {
      const tokenized = await tokenizeRows(used, tokenizer, {
        ...limits,
        ...(objective.needs.control && { control: objective.needs.control }),
        progress: (done) => bar?.update(done),
      })
      const examples = objective.needs.pairs ? wholePairs(tokenized.examples) : tokenized.examples
      const unpaired = tokenized.examples.length - examples.length
      sources.push({ ...facts, leftOut, ...tokenized.facts, ...(unpaired > 0 && { unpaired }) })
      if (examples.length === 0) throw new Error(noPairs(files, objective))
      if (unpaired > 0)
        progress?.log(`${unpaired} rows are left out: they are no half of a pair, and ${objective.name} compares pairs`)
      return examples
    } finally {
      bar?.stop()
    }
  }
  const all = await read(options.data, 'tokenising')
  const given = options.evaluation.data
  const { train, heldOut } = given
    ? { train: all, heldOut: await read(given, 'tokenising held-out rows') }
    : splitByPrompt(all, options.evaluation.split, options.seed)
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
    heldOut: setFacts(heldOut),
    steps: plan.steps,
    stepsPerEpoch: plan.stepsPerEpoch,
    hash: hashOf([train, heldOut]),
    model: modelHash,
    sources,
  }
  return { train, heldOut, plan, heldOutPlan, facts }
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
        .update(weight === undefined ? new Uint8Array() : Float64Array.of(weight))
        .update(prompt)
        .update(completion)
    }
  }
  return hash.digest('hex')
}

/** Those whose other half is there too, numbered anew. */
function wholePairs(examples: readonly Example[]): Example[] {
  const halves = new Map<number, number>()
  for (const { pair } of examples) if (pair !== undefined) halves.set(pair, (halves.get(pair) ?? 0) + 1)
  return examples
    .filter(({ pair }) => pair !== undefined && halves.get(pair) === 2)
    .map((example, index) => ({ ...example, index }))
}

function noPairs(files: readonly string[], { name }: Objective): string {
  return (
    `${files.join(', ')}: no pairs, and ${name} compares a chosen with a rejected reply to one prompt: ` +
    'give rows {prompt, chosen, rejected}, or learn from single judged replies with --loss kto'
  )
}

/** What a user should know of the data before it is trained on. */
export function dataWarnings({ train, plan }: PreparedData, objective: Objective): string[] {
  const warnings: string[] = []
  const desirable = train.filter((example) => example.desirable).length
  if (objective.needs.labels && (desirable === 0 || desirable === train.length)) {
    const [kind, other] = desirable === 0 ? ['thumbs-down', 'thumbs-up'] : ['thumbs-up', 'thumbs-down']
    warnings.push(
      `all ${train.length} rows are ${kind}: ${objective.name} needs both kinds to tell them apart. Check how labels are written ` +
        `(label: true or false), add ${other} rows, or imitate thumbs-up rows with --loss sft`,
    )
  }
  if (objective.needs.mismatched && plan.steps > 0 && plan.batch(0).partners.every((partner) => partner === null)) {
    warnings.push('all rows share one prompt or one completion, so no mismatched pairs exist: z0 stays 0')
  }
  return warnings
}
