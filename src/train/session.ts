import { readFileSync } from 'node:fs'
import type { Plan } from '../data/plan.ts'
import { defaultCache } from '../data/source/files.ts'
import { loadTokenizer, type Tokenizer } from '../data/tokenizer.ts'
import { type LossOptions, makeObjective } from '../loss/index.ts'
import type { Objective } from '../loss/objective.ts'
import { balanceText, type WeightSums, withResolvedWeights } from '../loss/weights.ts'
import { copyAdapter } from '../model/adapters/adapter.ts'
import { type Decoder, embeddingName } from '../model/decoder.ts'
import type { ModelFolder } from '../model/folder.ts'
import { lengthRegimes } from '../model/frequencies.ts'
import { type ModelSource, openModel, openSource, sourceHash, tokenizerFolder } from '../model/open.ts'
import { OptionError } from '../options/validate.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import { availableMemory } from '../tensor/available-memory.ts'
import { computeTypeOn, deviceMemory, emptyDeviceCache, resolveDevice, setDeviceMath } from '../tensor/device.ts'
import { inspectEngine, setThreads } from '../tensor/engine.ts'
import type { Device, Dtype } from '../tensor/tensor.ts'
import type { ReferenceLogps } from './batches.ts'
import { latestCheckpoint, restoreCheckpoint } from './checkpoint.ts'
import { Critic } from './critic.ts'
import { weightedByDensity } from './density.ts'
import type { HeldOut } from './evaluation.ts'
import { LiveReference } from './live-reference.ts'
import { checkpointingFor, largestPass, planMemory } from './memory-plan.ts'
import { largestMicroBatch, processorTokens } from './micro-batch.ts'
import { AdamW } from './optimizer.ts'
import type { ResolvedTrainOptions } from './options.ts'
import { adapterConfigOf, loadPolicy, loadReference, startingAdapter } from './policy.ts'
import { dataWarnings, type PreparedData, prepareData } from './prepare.ts'
import { referenceLogps } from './reference.ts'
import type { Progress, TrainHooks } from './run.ts'
import { RunDirectory } from './run-directory.ts'
import type { Trainer } from './step.ts'

/** Options in which nothing is left to be found out: the device is one, and `auto` a number. */
export type SettledOptions = ResolvedTrainOptions & { microBatchTokens: number; gradientCheckpointing: boolean }

/** Everything a run works with, ready for its next step. */
export interface Session {
  options: SettledOptions
  directory: RunDirectory
  /** What is trained: a model, or an adapter and its base. */
  model: ModelSource
  /** The folder of the model, or of the adapter's base. */
  source: ModelFolder
  tokenizer: Tokenizer
  data: PreparedData
  trainer: Trainer
  reference: ReferenceLogps | null
  /** Where the reference is in memory instead. */
  liveReference: LiveReference | null
  heldOut: HeldOut | null
  /** Steps done before. */
  startStep: number
}

/** Loads model and data, writes the run directory's first files, and computes what the reference says. */
export async function openSession(
  given: ResolvedTrainOptions,
  path: string,
  { resume, signal, progress }: TrainHooks,
): Promise<Session> {
  const placed = { ...given, device: deviceOf(given) }
  setDeviceMath(placed.device, placed)
  setThreads(placed.threads ?? null)
  for (const warning of inspectEngine().warnings) progress?.log(warning)
  const asked = makeObjective(weighted(placed.loss, null))
  const model = openModel(placed.model, { base: placed.base })
  const { folder: source } = model
  const compute = computeType(placed)
  adapterConfigOf(placed, model) // contradictions show before the work begins
  const tokenizer = loadTokenizer(tokenizerFolder(model), placed)
  const modelHash = await sourceHash(model, placed.cache ?? defaultCache(), { progress, signal })
  const data = await prepareData(placed, asked, tokenizer, modelHash, { progress, signal })
  const loss = weighted(placed.loss, data.facts.train, progress)
  const objective = makeObjective(loss)
  for (const warning of dataWarnings(data, objective, placed, source.config)) progress?.log(`warning: ${warning}`)
  signal?.throwIfAborted()
  const live = objective.needs.reference && livesInMemory(placed)
  const options = settled(placed, objective, model, data, live, progress)
  const directory = resume === undefined ? RunDirectory.create(path, options) : new RunDirectory(path)
  recordData(directory, data, resume !== undefined)
  try {
    if (objective.needs.reference) progress?.log(referenceText(options, live))
    const hooks = { signal, progress }
    const { decoder, reference } = await withReference(options, objective, model, modelHash, data, hooks)
    const referenceCopy = live ? await loadReferenceCopy(options, model, decoder, hooks) : null
    const rows = await weightedRows(options, objective, data, decoder, directory, hooks)
    const optimizer = optimizerOf(decoder, options)
    const critic = objective.needs.values ? new Critic(decoder, options.seed, options.optimizer) : null
    const checkpoint = resume === undefined ? null : latestCheckpoint(directory.checkpoints)
    const restored = checkpoint ? restoreCheckpoint(checkpoint, decoder, optimizer) : null
    if (checkpoint) critic?.restore(checkpoint.folder, optimizer.step)
    const { microBatchTokens, gradientCheckpointing, seed } = options
    const objectiveState = restored?.objectiveState ?? objective.initialState ?? {}
    const passes = { compute, microBatchTokens, gradientCheckpointing, seed }
    const trainer = { decoder, objective, objectiveState, optimizer, critic, ...passes }
    const { heldOut: examples, heldOutPlan: plan } = rows
    const liveReference = referenceCopy && new LiveReference(referenceCopy, trainer, options.referenceSync)
    if (checkpoint) liveReference?.restore(checkpoint.folder)
    const heldOut = plan && { examples, plan, reference: reference?.heldOut ?? null }
    return {
      options,
      directory,
      model,
      source,
      tokenizer,
      data: rows,
      trainer,
      reference: reference?.train ?? null,
      liveReference,
      heldOut,
      startStep: restored?.step ?? 0,
    }
  } catch (error) {
    if (resume === undefined) directory.discard()
    throw error
  }
}

/** The rows with the weights that the objective gives them by their prompts, as the policy sees these before its first step. */
async function weightedRows(
  options: SettledOptions,
  { needs }: Objective,
  data: PreparedData,
  decoder: Decoder,
  { densityFile }: RunDirectory,
  hooks: Hooks,
): Promise<PreparedData> {
  if (!needs.density) return data
  const embedder = { ...options, decoder, compute: computeType(options) }
  return { ...data, ...(await weightedByDensity(data, needs.density, embedder, densityFile, hooks)) }
}

function computeType({ device, precision }: ResolvedTrainOptions): Dtype {
  return computeTypeOn(device, precision)
}

function deviceOf({ device }: ResolvedTrainOptions): Device {
  try {
    return resolveDevice(device)
  } catch (error) {
    throw new OptionError((error as Error).message)
  }
}

/** Puts a number for `microBatchTokens: auto`, and yes or no for `gradientCheckpointing: auto`. `live`: a second model will be in memory. */
function settled(
  options: ResolvedTrainOptions,
  objective: Objective,
  model: ModelSource,
  data: PreparedData,
  live: boolean,
  progress?: Progress,
): SettledOptions {
  const gradientCheckpointing = settledCheckpointing(options, model, data, live, progress)
  const microBatchTokens = settledTokens({ ...options, gradientCheckpointing }, objective, model, data, live, progress)
  return { ...options, gradientCheckpointing, microBatchTokens }
}

function settledCheckpointing(
  options: ResolvedTrainOptions,
  model: ModelSource,
  { train }: PreparedData,
  live: boolean,
  progress?: Progress,
): boolean {
  const { gradientCheckpointing, microBatchTokens, batchSize, device, loadIn } = options
  if (gradientCheckpointing !== 'auto') return gradientCheckpointing
  const plan = planMemory({
    config: model.folder.config,
    adapter: adapterConfigOf(options, model),
    loadIn,
    optimizer: options.optimizer.type,
    compute: computeType(options),
    referenceCopy: live,
    ...largestPass(train, batchSize, microBatchTokens === 'auto' ? processorTokens : microBatchTokens),
  })
  const { on, says } = checkpointingFor(plan, deviceMemory(device)?.free ?? availableMemory())
  if (on) progress?.log(says)
  return on
}

function optimizerOf(decoder: Decoder, { optimizer }: SettledOptions | ResolvedTrainOptions): AdamW {
  return new AdamW(decoder.trainable, optimizer, new Set([embeddingName(decoder.config)]))
}

/** For `auto`, on a GPU the most that fits, found with a policy that is loaded for it and freed. */
function settledTokens(
  options: ResolvedTrainOptions & { gradientCheckpointing: boolean },
  objective: Objective,
  model: ModelSource,
  { train }: PreparedData,
  live: boolean,
  progress?: Progress,
): number {
  const { microBatchTokens, gradientCheckpointing, batchSize, device, seed } = options
  if (microBatchTokens !== 'auto') return microBatchTokens
  if (device === 'cpu') return processorTokens
  const compute = computeType(options)
  const decoder = loadPolicy(options, model, compute, progress)
  const optimizer = optimizerOf(decoder, options)
  const critic = objective.needs.values ? new Critic(decoder, seed, options.optimizer) : null
  const trainer = { decoder, objective, optimizer, critic, compute, microBatchTokens: 0, gradientCheckpointing, seed }
  try {
    const copied = live && !decoder.adapter ? [...decoder.parameters.values()] : []
    const beside = copied.reduce((bytes, { size }) => bytes + 4 * size, 0)
    const tokens = largestMicroBatch(trainer, train, batchSize, beside, progress)
    progress?.log(`--micro-batch-tokens auto: ${tokens}`)
    return tokens
  } finally {
    critic?.dispose()
    optimizer.dispose()
    decoder.dispose()
    emptyDeviceCache(device)
  }
}

/** Writes data.json; for a resumed run, makes sure that it would be the same. */
function recordData({ dataFile, path }: RunDirectory, { facts }: PreparedData, resumed: boolean): void {
  const before = resumed ? readJson(dataFile) : null
  for (const [key, what] of [
    ['hash', 'the rows'],
    ['model', 'the starting model'],
  ] as const) {
    if (before && before[key] !== facts[key]) {
      throw new Error(
        `${path}: ${what} changed since the run began (data.json: ${key}): put them back, or start a new run`,
      )
    }
  }
  if (!before) writeFileAtomic(dataFile, `${JSON.stringify(facts, null, 2)}\n`)
}

function readJson(file: string): Record<string, unknown> | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null // killed before it was written
    throw error
  }
}

/** The loss with weights that are `auto` as the rows at hand want them, or 1 before these are known; says what was chosen. */
function weighted(loss: LossOptions, rows: WeightSums | null, progress?: Progress): LossOptions {
  const resolved = withResolvedWeights(loss, rows)
  if (rows && resolved !== loss) {
    const { desirableWeight: desirable, undesirableWeight: undesirable } = rows
    progress?.log(balanceText(resolved, { desirable, undesirable }))
  }
  return resolved
}

/** A reference that follows the policy cannot be computed ahead. */
function livesInMemory({ referenceMode, referenceSync }: ResolvedTrainOptions): boolean {
  const follows = referenceSync.every !== undefined
  if (follows && referenceMode === 'cache') {
    throw new OptionError(
      'referenceMode: cache is not possible with referenceSync.every: a reference that follows the policy is not known ahead; leave one out',
    )
  }
  return follows || referenceMode === 'copy'
}

function referenceText({ reference, referenceMode, referenceSync }: ResolvedTrainOptions, live: boolean): string {
  const which = reference ?? 'the starting model'
  const { every, mixing } = referenceSync
  if (every !== undefined)
    return `reference: ${which}, in memory, moved by ${mixing} towards the policy after every ${every} steps`
  const how = live ? 'a frozen copy in memory' : 'log-probabilities computed ahead and cached'
  return `reference: ${which}, ${how}${referenceMode === 'auto' ? '' : ' (--reference-mode)'}`
}

/**
 * A decoder with weights of its own that the reference starts from. That of an adapter run shares the policy's base in memory; it is made before
 * the policy's adapter is taken from a checkpoint.
 */
async function loadReferenceCopy(
  options: ResolvedTrainOptions,
  model: ModelSource,
  policy: Decoder,
  hooks: Hooks,
): Promise<Decoder> {
  const compute = computeType(options)
  if (options.reference === undefined) {
    return policy.adapter
      ? policy.withAdapter(copyAdapter(policy.adapter))
      : loadReference(options, model, compute, hooks.progress)
  }
  if (policy.adapter && options.referenceSync.every !== undefined) {
    throw new OptionError(
      'referenceSync.every: with an adapter, only a reference that the run starts from can follow it; leave out --reference',
    )
  }
  const reference = loadReference(options, await openSource(options.reference, {}, hooks), compute, hooks.progress)
  if (options.referenceSync.every !== undefined) refuseOtherShape(reference, policy, options.reference)
  return reference
}

/** A reference that follows the policy has weights for all that the policy trains. */
function refuseOtherShape(reference: Decoder, policy: Decoder, name: string): void {
  const { trainable } = reference
  const other = [...policy.trainable].find(([key, { shape }]) => trainable.get(key)?.shape.join() !== shape.join())
  if (!other && trainable.size === policy.trainable.size) return
  reference.dispose()
  const which = other ? ` (${other[0]} differs)` : ''
  throw new OptionError(
    `referenceSync.every: ${name} cannot follow the policy, since it has other weights${which}: name a model of the same shape, or leave out --reference`,
  )
}

type Answers = { train: ReferenceLogps | null; heldOut: ReferenceLogps | null }
type Hooks = Pick<TrainHooks, 'signal' | 'progress'>

/**
 * The policy, and what the reference says. Where no other reference is named, it is the policy itself, which is not trained yet: with an adapter,
 * the base with the adapter off, or with the adapter that is continued. One that is named is loaded, asked and freed before the policy is loaded.
 */
async function withReference(
  options: SettledOptions,
  objective: Objective,
  model: ModelSource,
  hash: string,
  data: PreparedData,
  hooks: Hooks,
): Promise<{ decoder: Decoder; reference: Answers | null }> {
  const compute = computeType(options)
  const policy = () => loadPolicy(options, model, compute, hooks.progress)
  if (!objective.needs.reference) return { decoder: policy(), reference: null }
  if (options.reference !== undefined) {
    const named = await openSource(options.reference, {}, hooks)
    const cache = options.cache ?? defaultCache()
    const load = () => loadReference(options, named, compute, hooks.progress)
    const reference = await referencesOf(
      options,
      objective,
      named.folder,
      await sourceHash(named, cache, hooks),
      load,
      data,
      hooks,
    )
    return { decoder: policy(), reference }
  }
  const decoder = policy()
  try {
    const { adapter } = decoder
    const frozen = `${hash} frozen ${options.loadIn ?? ''} ${options.loadIn ? options.doubleQuantization : ''}`
    const load = () => decoder.withAdapter(adapter && startingAdapter(model, options.device))
    const weights = adapter ? frozen : hash
    return { decoder, reference: await referencesOf(options, objective, model.folder, weights, load, data, hooks) }
  } catch (error) {
    decoder.dispose()
    throw error
  }
}

/** What decides the bits of an answer beside its inputs. */
function engineOf({ device, tf32 }: SettledOptions): string {
  const { libtorch, processor: cpu, gpus } = inspectEngine()
  const machine =
    device === 'cpu' ? [cpu.name, cpu.capability, cpu.bfloat16] : [gpus.driver, ...gpus.all.map(({ name }) => name)]
  const { PROSPECT_KERNELS: kernels, PROSPECT_TILES: tiles } = process.env
  return JSON.stringify([device, machine, tf32, libtorch.version, kernels, tiles])
}

async function referencesOf(
  options: SettledOptions,
  objective: Objective,
  { config }: ModelFolder,
  weights: string,
  load: () => Decoder,
  { train, plan, heldOut, heldOutPlan }: PreparedData,
  hooks: Hooks,
): Promise<Answers> {
  const hash = weights + lengthRegimes(config, options.maxLength)
  const { microBatchTokens } = options
  const { tokens, pairs } = objective.needs
  const shared = { compute: computeType(options), microBatchTokens, tokens, pairs, engine: engineOf(options) }
  const settings = { cache: options.cache, ...hooks }
  let decoder: Decoder | undefined // loaded once, and only where one of the two is not cached
  const loaded = () => {
    decoder ??= load()
    return decoder
  }
  const answers = (examples: PreparedData['train'], plan: Plan) =>
    referenceLogps({ examples, plan, ...shared }, hash, loaded, settings)
  try {
    return {
      train: livesInMemory(options) ? null : await answers(train, plan),
      heldOut: heldOutPlan && (await answers(heldOut, heldOutPlan)),
    }
  } finally {
    decoder?.dispose()
  }
}
