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
      const tokenized = await tokenizeRows(used, tokenizer, { ...limits, progress: (done) => bar?.update(done) })
      sources.push({ ...facts, leftOut, ...tokenized.facts })
      return tokenized.examples
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
  const mismatched = objective.needs.mismatched
  const plan = makePlan({ examples: train, seed, epochs, batchSize, maxSteps, mismatched })
  const heldOutPlan =
    heldOut.length > 0
      ? makePlan({ examples: heldOut, seed, epochs: 1, batchSize: Math.max(2, batchSize), mismatched })
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
  return {
    rows: examples.length,
    desirable,
    undesirable: examples.length - desirable,
    prompts: new Set(examples.map(({ promptGroup }) => promptGroup)).size,
    promptTokens: sum(({ prompt }) => prompt.length),
    completionTokens: sum(({ completion }) => completion.length),
  }
}

function hashOf(sets: readonly (readonly Example[])[]): string {
  const hash = createHash('sha256')
  for (const examples of sets) {
    for (const { prompt, completion, desirable } of examples) {
      hash
        .update(Uint32Array.of(prompt.length, completion.length, Number(desirable)))
        .update(prompt)
        .update(completion)
    }
  }
  return hash.digest('hex')
}

/** What a user should know of the data before it is trained on. */
export function dataWarnings({ train, plan }: PreparedData, objective: Objective): string[] {
  const warnings: string[] = []
  const desirable = train.filter((example) => example.desirable).length
  if (objective.needs.labels && (desirable === 0 || desirable === train.length)) {
    const kind = desirable === 0 ? 'thumbs-down' : 'thumbs-up'
    warnings.push(`all ${train.length} rows are ${kind}: ${objective.name} needs both kinds to tell them apart`)
  }
  if (objective.needs.mismatched && plan.steps > 0 && plan.batch(0).partners.every((partner) => partner === null)) {
    warnings.push('all rows share one prompt or one completion, so no mismatched pairs exist: z0 stays 0')
  }
  return warnings
}
