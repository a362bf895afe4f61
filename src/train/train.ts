import { ReadableStream, type ReadableStreamDefaultController } from 'node:stream/web'
import { setImmediate } from 'node:timers/promises'
import { controlKey } from '../data/tokenizer.ts'
import type { Example } from '../data/types.ts'
import { completeLoss, foreignOptions } from '../loss/table.ts'
import { saveAdapterFolder } from '../model/adapters/folder.ts'
import type { Decoder, Weights } from '../model/decoder.ts'
import { saveModelFolder } from '../model/folder.ts'
import { companionsOf } from '../model/open.ts'
import { OptionError, validate } from '../options/validate.ts'
import { deviceMemory, resetDevicePeak } from '../tensor/device.ts'
import { memoryUse } from '../tensor/engine.ts'
import { alarmMemory, alarmsOf, type Observed, type SampledLengths } from './alarms.ts'
import { batchOf } from './batches.ts'
import { modelCard } from './card.ts'
import { CheckpointWriter } from './checkpoint-writer.ts'
import { evaluate, thresholdOf } from './evaluation.ts'
import { localInputs } from './inputs.ts'
import { type ResolvedTrainOptions, type TrainOptions, trainOptions } from './options.ts'
import { withComputeWeights } from './passes.ts'
import { meansByLabel, rewardStatistics, saturatedShare } from './rewards.ts'
import { pairPositions } from './rows.ts'
import type { Evaluation, Run, StepMetrics, Summary, TrainHooks } from './run.ts'
import { RunDirectory } from './run-directory.ts'
import { scheduleFactor } from './schedule.ts'
import { openSession, type Session } from './session.ts'
import { NotFiniteError, type StepResult, trainStep } from './step.ts'
import { bestEvaluation, isStale } from './stopping.ts'

/** Answers prompts: token ids in, token ids out. */
export type Sampler = (
  decoder: Decoder,
  weights: Weights,
  prompts: readonly Int32Array[],
  settings: { maxTokens: number; seed: number; stop: readonly number[]; signal?: AbortSignal },
) => Promise<Int32Array[]>

/**
 * Trains a model on judged completions. Resolves once the first step can begin; iterate the run for each step's metrics, and await
 * `finished` for the outcome. Throws OptionError or DataError for what the caller gave, and the signal's reason where it is aborted before
 * the first step. `sampler` answers the fixed prompts of samples.jsonl; without one that file is not written. `report`
 * is called with the run directory once the model is in it.
 */
export async function train(
  options: TrainOptions,
  hooks: TrainHooks = {},
  { sampler, report }: { sampler?: Sampler; report?: (directory: string) => unknown } = {},
): Promise<Run> {
  hooks.signal?.throwIfAborted()
  const resumed = hooks.resume === undefined ? null : new RunDirectory(hooks.resume)
  if (resumed?.result) throw new OptionError(`resume: this run is complete; it made ${resumed.result}`)
  const resolved = resumed
    ? resumed.readOptions()
    : await localInputs(resolveReference(validate(trainOptions, options)), hooks)
  const path = resumed?.path ?? resolved.output ?? defaultOutput(resolved.loss.type)
  const session = await openSession({ ...resolved, output: path }, path, hooks)
  return start(session, hooks, sampler, report)
}

/** `reference: none` is another way to say that there is none. */
function resolveReference(options: ResolvedTrainOptions): ResolvedTrainOptions {
  if (options.reference !== 'none') return options
  const { reference: _, ...others } = options
  const loss = { ...options.loss, referenceFree: true }
  const [foreign] = foreignOptions(loss)
  if (foreign) throw new OptionError(`reference: none is not possible: ${foreign.problem}`)
  return { ...others, loss: completeLoss(loss) }
}

function defaultOutput(loss: string): string {
  return `runs/${loss}-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`
}

/** Runs the loop in the background; metrics wait in the stream for whoever iterates. */
function start(session: Session, hooks: TrainHooks, sampler?: Sampler, report?: (directory: string) => unknown): Run {
  let publish!: ReadableStreamDefaultController<StepMetrics>
  const stream = new ReadableStream<StepMetrics>(
    {
      start(controller) {
        publish = controller
      },
    },
    { highWaterMark: Number.POSITIVE_INFINITY },
  )
  const finished = new Loop(session, hooks, sampler, (metrics) => publish.enqueue(metrics))
    .run()
    .then(async (summary) => {
      if (summary.model !== null) await report?.(session.directory.path)
      return summary
    })
    .finally(() => release(session))
  finished.then(
    () => publish.close(),
    (error) => publish.error(error), // iterating throws it; `finished` rejects with it
  )
  return {
    directory: session.directory.path,
    finished,
    [Symbol.asyncIterator]: () => stream.values({ preventCancel: true }),
  }
}

function release({ trainer, liveReference }: Session): void {
  liveReference?.dispose()
  trainer.optimizer.dispose()
  trainer.critic?.dispose()
  trainer.decoder.dispose()
}

/** The training loop: the only one. */
class Loop {
  readonly #session: Session
  readonly #hooks: TrainHooks
  readonly #sampler: Sampler | undefined
  readonly #publish: (metrics: StepMetrics) => void
  readonly #started = performance.now()
  /** The last steps, and the names of the alarms that were on after them. */
  #samples: { step: number; tokens: number }[] = []
  #history: (Observed & Pick<StepMetrics, 'alarms' | 'notApplied'>)[] = []
  readonly #checkpoints: CheckpointWriter

  constructor(
    session: Session,
    hooks: TrainHooks,
    sampler: Sampler | undefined,
    publish: (metrics: StepMetrics) => void,
  ) {
    this.#session = session
    this.#hooks = hooks
    this.#sampler = sampler
    this.#publish = publish
    this.#checkpoints = new CheckpointWriter(session)
    session.trainer.beforeUpdate = () => this.#checkpoints.detach()
  }

  async run(): Promise<Summary> {
    const { directory, startStep, data } = this.#session
    let done = startStep
    directory.rewind(done)
    this.#samples = directory.read<{ step: number; tokens: number }>('samples')
    this.#history = directory.read<StepMetrics>('metrics').slice(-alarmMemory)
    try {
      await this.#observe(done)
      while (done < data.plan.steps && !this.#stale()) {
        this.#hooks.signal?.throwIfAborted()
        this.#step(done)
        done++
        await setImmediate() // lets Ctrl-C and other work through, such as the end of a checkpoint
        this.#checkpoints.check()
        await this.#stopWhereNothingIsFinite(done)
        await this.#observe(done)
        if (done % this.#session.options.checkpoint.every === 0 && done < data.plan.steps)
          await this.#checkpoints.start(done)
      }
    } catch (error) {
      const interrupted = error === this.#hooks.signal?.reason && error !== undefined
      if (interrupted) await this.#checkpoints.write(done)
      else await this.#checkpoints.finish().catch(() => {}) // the error that came first is the one to be told
      if (interrupted) return this.#summary(done, null)
      throw error
    }
    await this.#checkpoints.finish()
    return this.#summary(done, await this.#save(done))
  }

  #step(step: number): void {
    const { options, trainer, data, reference, liveReference, directory } = this.#session
    const began = performance.now()
    const planned = batchOf(data.plan, step, data.train, reference)
    const batch = liveReference ? liveReference.fill(planned) : planned
    const result = trainStep(trainer, batch, scheduleFactor(options.schedule, step, data.plan.steps))
    // An adapter that is continued drops inputs in the policy's pass and not in the reference's: the two differ from the start.
    const drops = (trainer.decoder.adapter?.config.dropout ?? 0) > 0
    const own = trainer.objective.needs.reference && options.reference === undefined
    if (step === 0 && own && !drops && !result.notFinite) refuseMovedReference(result)
    this.#checkpoints.detach() // a step that was not applied has not
    liveReference?.follow(trainer.decoder, step + 1)
    const seconds = (performance.now() - began) / 1000
    const metrics = this.#withAlarms(this.#metrics(step, result))
    directory.append('metrics', metrics)
    const tokensPerSecond = Math.round(result.tokens / seconds)
    const { device } = trainer.decoder
    const onDevice = deviceMemory(device)
    resetDevicePeak(device) // the next step's peak is its own
    const memoryBytes = onDevice?.allocated ?? memoryUse().live
    directory.append('timing', {
      step: step + 1,
      seconds,
      tokensPerSecond,
      memoryBytes,
      ...(onDevice && {
        reservedBytes: onDevice.reserved,
        peakBytes: onDevice.peakAllocated,
        peakReservedBytes: onDevice.peakReserved,
      }),
      residentBytes: process.memoryUsage.rss(),
    })
    this.#publish({ ...metrics, timings: { tokensPerSecond, memoryBytes, secondsLeft: this.#secondsLeft(step + 1) } })
  }

  /** Adds the alarms that are on, and says those that have come on. */
  #withAlarms(metrics: Omit<StepMetrics, 'timings' | 'alarms'>): Omit<StepMetrics, 'timings'> {
    const before = this.#history.at(-1)?.alarms ?? []
    const alarms = alarmsOf([...this.#history, metrics], this.#sampledLengths())
    for (const { name, message } of alarms)
      if (!before.includes(name)) this.#hooks.progress?.log(`warning: step ${metrics.step}: ${message}`)
    const { notApplied } = metrics
    if (notApplied)
      this.#hooks.progress?.log(`warning: step ${metrics.step} was not applied: ${notFiniteText(metrics)}`)
    const result = { ...metrics, alarms: alarms.map(({ name }) => name) }
    this.#history = [...this.#history, result].slice(-alarmMemory)
    return result
  }

  /** Replies to the fixed prompts, at the start and last; null where there are none yet. */
  #sampledLengths(): SampledLengths | null {
    const samples = this.#samples
    const last = samples.at(-1)?.step
    if (last === undefined || last === 0) return null
    const at = (step: number) => samples.filter((sample) => sample.step === step).map(({ tokens }) => tokens)
    return { before: at(0), now: at(last) }
  }

  /** After three such steps in a row nothing is going to become better: stops, with a checkpoint of the last good weights. */
  async #stopWhereNothingIsFinite(done: number): Promise<void> {
    const last = this.#history.slice(-3)
    if (last.length < 3 || last.some(({ notApplied }) => !notApplied)) return
    await this.#checkpoints.write(done)
    const rows = [...new Set(last.flatMap(({ notApplied }) => notApplied!))]
    throw new NotFiniteError(
      `loss or gradient were not finite for three steps in a row, the last of them step ${done}: the run stops; a checkpoint of the weights ` +
        `before them is in ${this.#session.directory.checkpoints}. ${suspects(rows)}`,
    )
  }

  #metrics(step: number, result: StepResult): Omit<StepMetrics, 'timings' | 'alarms'> {
    const { options, trainer, data } = this.#session
    const { plan } = data
    const rows = plan.batch(step).rows.map((index) => data.train[index]!)
    const labels = rows.map(({ desirable }) => desirable)
    const { objective } = trainer
    const threshold = thresholdOf(objective, result.referencePoint)
    const pairs = objective.needs.pairs ? pairPositions(rows) : null
    return {
      step: step + 1,
      steps: plan.steps,
      epoch: (step + 1) / plan.stepsPerEpoch,
      loss: result.loss,
      rewards: result.rewards && rewardStatistics(result.rewards, labels, threshold, pairs),
      logps: meansByLabel(result.logps, labels),
      kl: result.referencePoint,
      saturated:
        result.rewards && objective.slope
          ? saturatedShare(objective.slope, result.rewards, labels, threshold, pairs)
          : null,
      gradNorm: result.gradNorm,
      learningRate: options.optimizer.learningRate * scheduleFactor(options.schedule, step, plan.steps),
      ...(result.notFinite && { notApplied: result.notFinite.map(({ origin }) => `${origin.file}:${origin.line}`) }),
    }
  }

  #secondsLeft(done: number): number {
    const { startStep, data } = this.#session
    return ((performance.now() - this.#started) / 1000 / (done - startStep)) * (data.plan.steps - done)
  }

  /** Evaluates and samples where that is due after `done` steps and was not done before an interruption. */
  async #observe(done: number): Promise<void> {
    const { options, data, directory } = this.#session
    const { every } = options.evaluation
    if (done !== 0 && done !== data.plan.steps && (every === undefined || done % every !== 0)) return
    const recorded = (log: 'evaluation' | 'samples') => directory.read(log).some(({ step }) => step === done)
    if (this.#session.heldOut && !recorded('evaluation')) {
      const evaluation = await evaluate(this.#session.trainer, this.#session.heldOut, this.#hooks)
      // The best model comes first: killed between the two, a run that goes on evaluates and saves again.
      const all = [...directory.read<Evaluation & { step: number }>('evaluation'), { step: done, ...evaluation }]
      const { keepBest, metric } = options.evaluation
      if (keepBest && bestEvaluation(all, metric) === all.length - 1) await this.#saveTo(directory.best, done, all)
      directory.append('evaluation', { step: done, ...evaluation })
    }
    if (this.#sampler && options.samples.prompts > 0 && !recorded('samples')) await this.#sample(this.#sampler, done)
  }

  /** Whether held-out rows have not become better for as long as the options bear: a function of evaluation.jsonl, so resumed runs stop alike. */
  #stale(): boolean {
    const { patience, metric } = this.#session.options.evaluation
    if (patience === undefined) return false
    const evaluations = this.#session.directory.read<Evaluation & { step: number }>('evaluation')
    const stale = isStale(evaluations, metric, patience)
    if (stale) this.#hooks.progress?.log(`stopped early: ${patience} evaluations in a row had no better ${metric}`)
    return stale
  }

  /** Replies to the first distinct prompts, held-out ones where there are any. */
  async #sample(sampler: Sampler, done: number): Promise<void> {
    const { options, data, trainer, tokenizer, directory } = this.#session
    // Where prompts say what kind of reply is to follow, those that ask for a good one.
    const asked = (rows: readonly Example[]) =>
      trainer.objective.needs.control ? rows.filter(({ desirable }) => desirable) : rows
    const heldOut = asked(data.heldOut)
    const pool = heldOut.length > 0 ? heldOut : asked(data.train)
    const prompts = [...new Map(pool.map(({ promptGroup, prompt }) => [promptGroup, prompt])).values()]
    const fitting = prompts.filter(({ length }) => length < trainer.decoder.config.maxPositions)
    const chosen = fitting.slice(0, options.samples.prompts)
    const { maxTokens } = options.samples
    const settings = { maxTokens, seed: options.seed, stop: tokenizer.eosIds, signal: this.#hooks.signal }
    const replies = await withComputeWeights(trainer.decoder, trainer.compute, (weights) =>
      sampler(trainer.decoder, weights, chosen, settings),
    )
    for (const [i, prompt] of chosen.entries()) {
      const completion = tokenizer.decode(replies[i]!, { skipSpecial: true })
      const tokens = replies[i]!.length
      const sample = { step: done, prompt: tokenizer.decode(prompt, { skipSpecial: false }), completion, tokens }
      directory.append('samples', sample)
      this.#samples.push(sample)
    }
  }

  async #save(done: number): Promise<string> {
    const { directory, trainer } = this.#session
    const folder = trainer.decoder.adapter ? directory.adapter : directory.model
    trainer.critic?.save(directory.path) // beside the model, whose folder is a plain one; first, since the model ends the run
    await this.#saveTo(folder, done, directory.read('evaluation'))
    return folder
  }

  /** Saves what the model is after `done` steps, with a card that tells of these evaluations. */
  async #saveTo(folder: string, done: number, evaluations: readonly (Evaluation & { step: number })[]): Promise<void> {
    const { source, model, trainer, directory, options, data, tokenizer } = this.#session
    const { parameters, adapter } = trainer.decoder
    const library = adapter ? 'peft' : 'transformers'
    const card = modelCard(options, data.facts, {
      ...{ steps: done, evaluation: beforeAndAfter(evaluations), samples: directory.read('samples'), library },
    })
    const chatTemplate = options.chatTemplate === undefined ? undefined : tokenizer.chatTemplate!
    const { control } = trainer.objective.needs
    const generation = control && { [controlKey]: control.desirable }
    if (adapter) {
      const companions = companionsOf(model)
      const rawConfig = model.adapter?.rawConfig
      await saveAdapterFolder(folder, { adapter, rawConfig, companions, card, chatTemplate, generation })
      return
    }
    await saveModelFolder(folder, { source, parameters, dtype: source.dtype, card, chatTemplate, generation })
  }

  #summary(steps: number, model: string | null): Summary {
    const evaluation = beforeAndAfter(this.#session.directory.read('evaluation'))
    return { model, steps, seconds: (performance.now() - this.#started) / 1000, evaluation }
  }
}

function beforeAndAfter(evaluations: readonly (Evaluation & { step: number })[]): Summary['evaluation'] {
  const before = evaluations.find(({ step }) => step === 0)
  const after = evaluations.at(-1)
  return before && after ? { before, after } : null
}

function notFiniteText({ loss, gradNorm, notApplied }: Pick<StepMetrics, 'loss' | 'gradNorm' | 'notApplied'>): string {
  return `the loss is ${loss} and the gradient norm ${gradNorm}. ${suspects(notApplied!)}`
}

function suspects(rows: readonly string[]): string {
  if (rows.length === 0) return 'No row is the cause alone: the learning rate may be too high'
  const more = rows.length > 5 ? ` and ${rows.length - 5} more` : ''
  return `It comes from ${rows.slice(0, 5).join(', ')}${more}`
}

/** Before its first update the policy is the reference: its log-probabilities, computed in the same batches, are the same bits. */
function refuseMovedReference({ rewards }: StepResult): void {
  const worst = Math.max(0, ...Array.from(rewards ?? [], Math.abs))
  if (worst > 1e-3) {
    throw new Error(
      `the reward of a row is ${worst} before the first update, but policy and reference are the same model: ` +
        'something makes one differ from the other. Look for dropout that is on, an adapter that the reference lacks, another chat template ' +
        'or tokenizer, or cached log-probabilities of other weights (delete the cache folder, --cache)',
    )
  }
}
