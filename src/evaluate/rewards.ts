import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { readOptionsOf } from '../data/options.ts'
import { makePlan } from '../data/plan.ts'
import { readFeedback } from '../data/read.ts'
import { tokenizeRows } from '../data/tokenize.ts'
import { loadTokenizer, type Tokenizer } from '../data/tokenizer.ts'
import type { Example, Sequence } from '../data/types.ts'
import { localData, localModel } from '../hub/inputs.ts'
import { sample } from '../infer/sample.ts'
import { type LossOptions, makeObjective } from '../loss/index.ts'
import { implicitRewards } from '../loss/objective.ts'
import { estimateReferencePoint } from '../loss/reference-point.ts'
import { isAdapterFolder } from '../model/adapters/folder.ts'
import type { Decoder, Weights } from '../model/decoder.ts'
import { type ModelSource, openSource, tokenizerFolder } from '../model/open.ts'
import { ResidentModel } from '../model/resident.ts'
import { makeFolder } from '../options/files.ts'
import { OptionError } from '../options/validate.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import { computeTypeOn, resolveDevice } from '../tensor/device.ts'
import { setThreads } from '../tensor/engine.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import { type Device, type Dtype, Tensor } from '../tensor/tensor.ts'
import { mismatchedSequences, pairsOf } from '../train/batches.ts'
import type { ResolvedTrainOptions } from '../train/options.ts'
import { sequenceLogps, withComputeWeights } from '../train/passes.ts'
import { lossRows } from '../train/rows.ts'
import type { Progress } from '../train/run.ts'
import { RunDirectory } from '../train/run-directory.ts'
import type { ResolvedRewardsOptions } from './options.ts'
import { type CutRows, type RewardReport, rewardReport, scoredRow } from './reward-report.ts'

interface Hooks {
  progress?: Progress
  signal?: AbortSignal
}

/** Scores judged rows under a trained model and its reference; writes rewards.json and rows.jsonl. */
export async function evaluateRewards(options: ResolvedRewardsOptions, hooks: Hooks = {}): Promise<RewardReport> {
  const { output, list } = options
  makeFolder('--output', output) // before hours of work
  setThreads(options.threads ?? null)
  const { beta, base, lengths, loss, ...named } = settingsOf(options)
  if (loss && !rewardsLogRatios(loss))
    hooks.progress?.log(
      `note: the run trained --loss ${loss.type}, whose own reward is another one; what follows is beta times the summed log-ratio of a completion to the reference`,
    )
  const model = await opened(named.model, hooks, { base, adapter: options.adapter })
  const reference = await opened(named.reference, hooks, { base })
  const tokenizer = loadTokenizer(tokenizerFolder(model))
  const { sequences, cut } = await sequencesOf(options, lengths, tokenizer, hooks)
  const { examples, judged, mismatched } = sequences
  const logps = await underBoth({ model, reference }, sequences, tokenizer.eosIds, options, hooks)
  const ratios = Array.from(logps.policy, (logp, i) => logp - logps.reference[i]!)
  const own = judged.length + mismatched.length
  const referencePoint = estimateReferencePoint(ratios.slice(judged.length, own)).value
  const rows = examples.map(({ origin, desirable }, i) => ({
    origin,
    desirable,
    policy: logps.policy[i]!,
    reference: logps.reference[i]!,
  }))
  const prompts = examples.map(({ promptGroup }) => promptGroup)
  const settings = { beta, referencePoint, ownLogRatios: ratios.slice(own), listed: list, cut }
  const report = rewardReport({ rows, prompts, ...settings })
  writeFileAtomic(join(output, 'rewards.json'), `${JSON.stringify(report, null, 2)}\n`)
  const lines = rows.map((row) => `${JSON.stringify(scoredRow(row, beta, referencePoint))}\n`)
  writeFileAtomic(join(output, 'rows.jsonl'), lines.join(''))
  return report
}

/** Partners for z0 are looked for among so many rows: the search grows with their square. */
const partnersWithin = 1024

/** Judged rows: as examples, as sequences, and with the replies to other prompts that z0 is a mean over. */
interface Sequences {
  examples: readonly Example[]
  judged: readonly Sequence[]
  mismatched: readonly Sequence[]
}

async function sequencesOf(
  { seed, feedback, data }: ResolvedRewardsOptions,
  lengths: Lengths,
  tokenizer: Tokenizer,
  hooks: Hooks,
): Promise<{ sequences: Sequences; cut: CutRows }> {
  const files = await localData(data, hooks)
  const { rows } = await readFeedback(files, { onBadRow: 'error', needLabels: true, seed, ...readOptionsOf(feedback) })
  const { examples, facts } = await tokenizeRows(rows, tokenizer, { ...lengths, strict: false, onBadRow: 'error' })
  const { promptsCut: prompts, completionsCut: completions } = facts.tokenizing
  const batchSize = Math.min(Math.max(2, examples.length), partnersWithin)
  const plan = makePlan({ examples, seed, epochs: 1, batchSize, mismatched: true })
  const pairs = Array.from({ length: plan.steps }, (_, step) => pairsOf(plan, step)).flat()
  const judged = examples.map(({ prompt, completion, promptGroup }, row) => ({ prompt, completion, promptGroup, row }))
  const sequences = { examples, judged, mismatched: mismatchedSequences(examples, pairs) }
  return { sequences, cut: { maxLength: lengths.maxLength, prompts, completions } }
}

/** Log-probabilities of judged rows, mismatched ones and replies of the model itself, one after the other, under both models. */
async function underBoth(
  { model, reference }: Record<'model' | 'reference', ModelSource>,
  { examples, judged, mismatched }: Sequences,
  stop: readonly number[],
  options: ResolvedRewardsOptions,
  hooks: Hooks,
): Promise<{ policy: Float32Array; reference: Float32Array }> {
  const scorer = new Scorer(options, hooks)
  try {
    const { all, policy } = await scorer.with(model, async (decoder, weights) => {
      const own = await ownReplies(decoder, weights, examples, stop, options, hooks)
      const all = [...judged, ...mismatched, ...own]
      return { all, policy: await scorer.logps(decoder, weights, all) }
    })
    return { policy, reference: await scorer.with(reference, (...loaded) => scorer.logps(...loaded, all)) }
  } finally {
    scorer.dispose()
  }
}

/** How rows are cut, as in training. */
type Lengths = Pick<ResolvedTrainOptions, 'maxLength' | 'maxPromptLength'> & { cut: 'prompt-start' | 'prompt-end' }

/** `base` is for those of the two that are adapters. */
function settingsOf(options: ResolvedRewardsOptions): {
  model: string
  reference: string
  base?: string | undefined
  beta: number
  lengths: Lengths
  /** What the run optimised. */
  loss?: LossOptions
} {
  const { run, model, reference, beta, maxLength = 2048, maxPromptLength = Math.ceil(maxLength / 2) } = options
  if (run === undefined) {
    const lengths = { maxLength, maxPromptLength, cut: 'prompt-start' as const }
    return { model: model!, reference: reference ?? model!, beta: beta ?? 0.1, lengths }
  }
  const directory = new RunDirectory(run)
  const trained = directory.readOptions()
  const own = model ?? directory.result ?? directory.model
  if (!existsSync(own))
    throw new OptionError(`--run ${run}: it has no model yet (${own}): let it end, or name a model with --model`)
  return {
    model: own,
    reference: reference ?? trained.reference ?? trained.model,
    base: trained.base,
    beta: beta ?? trained.loss.beta ?? 0.1,
    loss: trained.loss,
    lengths: {
      maxLength: options.maxLength ?? trained.maxLength,
      maxPromptLength:
        options.maxPromptLength ?? (options.maxLength === undefined ? trained.maxPromptLength : maxPromptLength),
      cut: trained.feedback.truncate === 'prompt-end' ? 'prompt-end' : 'prompt-start',
    },
  }
}

/** Whether an objective's implicit reward is beta times the summed log-ratio to the reference, as it is read off a row of two tokens. */
export function rewardsLogRatios(loss: LossOptions): boolean {
  const objective = makeObjective(loss)
  if (!objective.needs.reference) return false
  return noGrad(() =>
    scope(() => {
      const tokens = Float32Array.of(-1, -2)
      const policy = {
        sums: Tensor.from(Float32Array.of(-3)),
        tokens: objective.needs.tokens ? Tensor.from(tokens) : null,
      }
      const reference = { sums: [-3.5], tokens: [Float32Array.of(-1.25, -2.25)] }
      const rows = [{ completion: new Int32Array(2), desirable: true }]
      const given = lossRows({ ...objective.needs, pairs: false }, rows, policy, reference)
      const rewards = implicitRewards(objective, given)?.toArray()
      return rewards !== undefined && Math.abs(rewards[0]! - 0.5 * (loss.beta ?? 0.1)) < 1e-6
    }),
  )
}

/** A model, or an adapter with its base; `adapter` is put on a model. */
async function opened(
  name: string,
  hooks: Hooks,
  { base, adapter }: { base?: string | undefined; adapter?: string | undefined },
): Promise<ModelSource> {
  const path = await localModel(name, hooks)
  return openSource(path, isAdapterFolder(path) && adapter === undefined ? { base } : { adapter }, hooks)
}

/** Passes over sequences with one model at a time in memory; an adapter is put on and taken off there. */
class Scorer {
  readonly #resident = new ResidentModel()
  readonly #device: Device
  readonly #compute: Dtype
  readonly #hooks: Hooks

  constructor({ device, precision }: ResolvedRewardsOptions, hooks: Hooks) {
    this.#device = resolveDevice(device)
    this.#compute = computeTypeOn(this.#device, precision)
    this.#hooks = hooks
  }

  async with<R>(source: ModelSource, work: (decoder: Decoder, weights: Weights) => Promise<R>): Promise<R> {
    const { progress } = this.#hooks
    const how = { device: this.#device, progress }
    const decoder = this.#resident.use(source, source.adapter ? this.#compute : 'float32', how)
    try {
      return await withComputeWeights(decoder, this.#compute, (weights) => work(decoder, weights))
    } finally {
      decoder.dispose()
    }
  }

  dispose(): void {
    this.#resident.dispose()
  }

  async logps(decoder: Decoder, weights: Weights, sequences: readonly Sequence[]): Promise<Float32Array> {
    const { progress, signal } = this.#hooks
    const result = new Float32Array(sequences.length)
    const bar = progress?.start(sequences.length, 'log-probabilities')
    const atOnce = 64
    try {
      for (let start = 0; start < sequences.length; start += atOnce) {
        signal?.throwIfAborted()
        result.set(sequenceLogps(decoder, weights, sequences.slice(start, start + atOnce), 2048), start)
        bar?.update(Math.min(sequences.length, start + atOnce))
        await setImmediate()
      }
    } finally {
      bar?.stop()
    }
    return result
  }
}

/** Replies of the model at temperature 1 to distinct prompts, with the end of turn where it came: what KL(pi || pi_ref) is a mean over. */
async function ownReplies(
  decoder: Decoder,
  weights: Weights,
  examples: readonly Example[],
  stop: readonly number[],
  { klPrompts, maxTokens, seed }: ResolvedRewardsOptions,
  { signal }: Hooks,
): Promise<Sequence[]> {
  const distinct = [...new Map(examples.map((example) => [example.promptGroup, example])).values()]
  const asked = distinct.filter(({ prompt }) => prompt.length < decoder.config.maxPositions).slice(0, klPrompts)
  const replies: Sequence[] = []
  const settings = { maxTokens, seed, stop, signal, overflow: 'shorten' } as const
  const prompts = asked.map(({ prompt }) => prompt)
  for await (const { index, tokens, end } of sample(decoder, weights, prompts, settings)) {
    const { prompt, promptGroup } = asked[index]!
    const completion = Int32Array.of(...tokens, ...(end === null ? [] : [end]))
    if (completion.length > 0) replies.push({ prompt, promptGroup, completion, row: replies.length })
  }
  return replies
}
