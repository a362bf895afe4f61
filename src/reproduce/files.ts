import { existsSync, mkdirSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { readOptionsOf, withoutReading } from '../data/options.ts'
import { Random } from '../data/random.ts'
import { readFeedback } from '../data/read.ts'
import { fileHash } from '../data/source/bytes.ts'
import { defaultCache } from '../data/source/files.ts'
import { heldOutRows } from '../data/split.ts'
import type { FeedbackRow } from '../data/types.ts'
import { rewardsOptions, winRateOptions } from '../evaluate/options.ts'
import { evaluateRewards } from '../evaluate/rewards.ts'
import { evaluateWinRate } from '../evaluate/winrate.ts'
import { localData, localModel } from '../hub/inputs.ts'
import { openSource, sourceHash } from '../model/open.ts'
import { readConfig } from '../options/config.ts'
import { OptionError, validate } from '../options/validate.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import { type ResolvedTrainOptions, type TrainOptions, trainOptions } from '../train/options.ts'
import { batchSizeOf, Cells, type Course, type Hooks, hashOf } from './cells.ts'
import type { Arm } from './experiments.ts'
import type { ResolvedReproduceOptions } from './options.ts'
import { byPrompt, type Judged, shaped } from './rows.ts'
import type { Measured, Part, World } from './world.ts'

type Given = ResolvedReproduceOptions & { model: string[]; data: string[] }

interface Hashes {
  weights: readonly string[]
  program: string | undefined
}

/** The two sides of one seed's split. */
interface Split {
  train: Judged[]
  heldOut: Judged[]
}

/** The user's models and feedback. Each seed holds out other prompts, on which all arms are compared. */
export class Files implements World {
  readonly measure: string
  readonly remark: string
  readonly sizes: readonly string[]
  readonly #options: Given
  readonly #training: ResolvedTrainOptions
  readonly #given: Partial<TrainOptions>
  readonly #models: readonly string[]
  /** Of the weights of each model, and of a program that judges: results of others under the same path are not theirs. */
  readonly #hashes: Hashes
  readonly #rows: readonly Judged[]
  readonly #cells: Cells

  /** Reads the feedback, and fetches what is on the hub. */
  static async open(options: Given, hooks: Hooks): Promise<Files> {
    const models: string[] = []
    for (const model of options.model) models.push(await localModel(model, hooks))
    const hashes: string[] = []
    for (const model of models) hashes.push(await sourceHash(await openSource(model, {}, hooks), defaultCache(), hooks))
    const { training, judge } = options
    const program = judge !== undefined && existsSync(judge) ? await fileHash(judge) : undefined
    const config = training === undefined ? null : readConfig(training, trainOptions, '--training')
    const given = (config?.values ?? {}) as Partial<TrainOptions>
    const resolved = validate(trainOptions, { ...given, model: models[0], data: options.data }, config?.locate)
    const data = await localData(options.data, hooks)
    const { onBadRow, feedback } = resolved
    const { rows } = await readFeedback(data, { onBadRow, needLabels: true, ...readOptionsOf(feedback) })
    return new Files(options, models, { weights: hashes, program }, { given, resolved }, rows, hooks)
  }

  private constructor(
    options: Given,
    models: readonly string[],
    hashes: Hashes,
    { given, resolved }: { given: Partial<TrainOptions>; resolved: ResolvedTrainOptions },
    rows: readonly FeedbackRow[],
    hooks: Hooks,
  ) {
    const { judge, output } = options
    this.#options = options
    this.#models = models
    this.#hashes = hashes
    this.#rows = rows.map(({ prompt, completion, label, tools }) => ({
      prompt,
      completion,
      label,
      ...(tools && { tools }),
    }))
    this.#cells = new Cells(output, hooks)
    this.#given = withoutReading(given) // rows are written anew for each arm
    this.#training = resolved
    this.sizes = sizeNames(options.model)
    this.measure = judge === undefined ? 'area under the ROC curve' : 'win rate against the thumbs-up reply'
    this.remark =
      judge === undefined
        ? 'Measured is how well the log-ratio to the starting model tells held-out thumbs apart: that of the start itself is one half, and what it says of replies that the model would write is little.'
        : `Judged by ${judge === 'exact' ? 'final answers' : judge} on held-out prompts.`
  }

  async measured(arm: Arm, seed: number, part: Part): Promise<Measured> {
    const { name, start, loss, rows = {}, size = this.sizes[0]!, rate = 1 } = arm
    const model = this.#models[this.sizes.indexOf(size)]!
    const weights = this.#weightsOf(model)
    const how = { training: this.#given, ...this.#measuring(), data: this.#dataHash, weights }
    return this.#cells.once('results', { model, start, loss, rows, rate, seed, part, ...how }, async () => {
      const { train, heldOut } = this.#split(seed, part)
      const course = this.#course(rate, seed)
      const what = { model, train, course, seed, part }
      const from = start === 'base' ? model : await this.#sft(what)
      const place = join(this.#cells.folder, 'measured', hashOf({ model, start, loss, rows, rate, seed, part, ...how }))
      return this.#cells.scratch(async (path) => {
        const trained =
          loss === null
            ? { model: from, rows: 0 }
            : await this.#cells.align({ name, model: from, loss }, shaped(train, rows, seed), course, path)
        return { ...(await this.#compare(trained.model, model, heldOut, place, seed)), rows: trained.rows }
      })
    })
  }

  /** What a result depends on beside the arm. */
  #measuring() {
    const { heldOut, judge, judgeModel, maxPrompts, maxTokens, quick } = this.#options
    if (judge === undefined) return { heldOut, quick }
    const { program } = this.#hashes
    return { heldOut, judge, judgeModel, maxPrompts, maxTokens, quick, ...(program !== undefined && { program }) }
  }

  #weightsOf(model: string): string {
    return this.#hashes.weights[this.#models.indexOf(model)]!
  }

  get #dataHash(): string {
    return hashOf(this.#rows.map(({ prompt, completion, label }) => [prompt, completion, label]))
  }

  #course(rate: number, seed: number): Course {
    const { optimizer, epochs, maxSteps } = this.#training
    const { train } = this.#split(seed, 'test')
    const all = epochs * Math.ceil(train.length / batchSizeOf(this.#given))
    const steps = Math.min(all, maxSteps ?? all)
    return { learningRate: rate * optimizer.learningRate, steps, seed, options: this.#given }
  }

  async #sft(what: { model: string; train: readonly Judged[]; course: Course; seed: number; part: Part }) {
    const { model, train, course, seed, part } = what
    const { heldOut } = this.#options
    const weights = this.#weightsOf(model)
    const key = { model, weights, seed, part, training: this.#given, data: this.#dataHash, heldOut }
    return this.#cells.model('sft', key, async (path) => {
      return (await this.#cells.align({ model, loss: { type: 'sft' }, name: 'SFT' }, train, course, path)).model
    })
  }

  /** Validation: a share of the test's training side, which is then not trained on. With --quick, of a tenth of the prompts. */
  #split(seed: number, part: Part): Split {
    const groups = [...byPrompt(this.#rows).values()]
    const few = Math.max(10, Math.ceil(groups.length / 10))
    const order = new Random('quick', seed).permutation(groups.length)
    const used = this.#options.quick ? Array.from(order.subarray(0, few), (i) => groups[i]!).flat() : this.#rows
    const test = parted(used, this.#options.heldOut, seed)
    return part === 'test' ? test : parted(test.train, this.#options.heldOut, seed)
  }

  async #compare(model: string, start: string, heldOut: readonly Judged[], output: string, seed: number) {
    return this.#options.judge === undefined
      ? await this.#area(model, start, heldOut, output)
      : await this.#winRate(model, heldOut, output, seed)
  }

  async #area(model: string, start: string, heldOut: readonly Judged[], output: string) {
    if (model === start) return { value: 0.5, low: 0.5, high: 0.5 }
    const data = this.#write(heldOut, output)
    const { threads } = this.#options
    const { precision, maxLength } = this.#training
    const options = { model, reference: start, data, output, klPrompts: 0, precision, maxLength, threads }
    const { area } = await evaluateRewards(validate(rewardsOptions, options), this.#cells.hooks)
    if (!area) throw new Error('--data: the held-out rows have one kind of thumb only; give more feedback')
    return { value: area.area, low: area.low, high: area.high }
  }

  /** Against one thumbs-up reply to each prompt that has one. */
  async #winRate(model: string, heldOut: readonly Judged[], output: string, seed: number) {
    const liked = [...byPrompt(heldOut.filter(({ label }) => label)).values()].map(([first]) => first!)
    if (liked.length === 0) throw new Error('--data: no held-out prompt has a thumbs-up reply; give more feedback')
    const { judge, judgeModel, maxPrompts, maxTokens, maxCost, inputPrice, outputPrice } = this.#options
    const prompts = this.#write(liked, output)
    const judging = { judge, judgeModel, maxPrompts, maxTokens, maxCost, inputPrice, outputPrice }
    const options = { candidate: model, prompts, output, ...judging, seed }
    const { rate, stopped } = await evaluateWinRate(validate(winRateOptions, options), this.#cells.hooks)
    if (stopped) throw new Error('--max-cost: reached before an arm was judged; a higher one goes on')
    return rate
  }

  #write(rows: readonly Judged[], output: string): string {
    const file = join(output, 'held-out.jsonl')
    mkdirSync(output, { recursive: true })
    writeFileAtomic(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    return file
  }
}

/** What models are called in tables: the last part of their path, or all of it where that is not theirs alone. */
function sizeNames(models: readonly string[]): string[] {
  const twice = models.find((model, i) => models.indexOf(model) !== i)
  if (twice !== undefined) throw new OptionError(`--model: ${twice} is given twice; name each model once`)
  const short = models.map((model) => basename(resolve(model)))
  return short.map((name, i) => (short.indexOf(name) === short.lastIndexOf(name) ? name : models[i]!))
}

/** Prompts are on one side as a whole. */
function parted(rows: readonly Judged[], share: number, seed: number): Split {
  const prompts = [...byPrompt(rows).keys()]
  const number = new Map(prompts.map((prompt, i) => [prompt, i]))
  const columns = {
    together: [Int32Array.from(rows, ({ prompt }) => number.get(JSON.stringify(prompt))!)],
    label: Uint8Array.from(rows, ({ label }) => Number(label)),
  }
  const held = heldOutRows(columns, { share, seed, by: 'random', stratify: true })
  const side = (of: number) => rows.filter((_, i) => held[i] === of)
  return { train: side(0), heldOut: side(1) }
}
