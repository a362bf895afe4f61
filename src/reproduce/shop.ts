import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePrompt } from '../data/tokenize.ts'
import { loadTokenizer } from '../data/tokenizer.ts'
import { demoModelConfig, writeDemoFolder } from '../demo/folder.ts'
import { judge } from '../demo/judge.ts'
import { sftMixture } from '../demo/mixture.ts'
import { heldOutPrompts, trainingPrompts } from '../demo/prompts.ts'
import { vocabulary } from '../demo/tokenizer.ts'
import { wilson } from '../evaluate/interval.ts'
import { sample } from '../infer/sample.ts'
import type { LossOptions, ObjectiveName } from '../loss/table.ts'
import { writeInitialWeights } from '../model/create.ts'
import { loadDecoder } from '../model/load.ts'
import type { TrainOptions } from '../train/options.ts'
import { withComputeWeights } from '../train/passes.ts'
import { batchSizeOf, Cells, type Course, type Hooks } from './cells.ts'
import type { Arm } from './experiments.ts'
import { type Judged, shaped } from './rows.ts'
import type { Measured, Part, World } from './world.ts'

export interface ShopSize {
  /** Rows that the base imitates. */
  mixtureRows: number
  /** Prompts of the feedback, each answered twice. */
  prompts: number
  /** Passes over the feedback, for an arm that uses all of it. */
  epochs: number
  /** Questions that are measured on. */
  questions: number
}

/** Multiplied by the tuned factor of each objective. */
const learningRate = 1e-4
/** The best of `prospect reproduce learning-rates`, and of `learning-rates-after-sft`, by validation. */
const tuned: Record<Arm['start'], Partial<Record<ObjectiveName, number>>> = {
  base: { sft: 10, csft: 10, slic: 3, ppo: 3 },
  sft: { csft: 0.1, dpo: 0.03, slic: 3, ppo: 0.03, kto: 0.03 },
}

/** What objectives need here. Control texts are of the shop's vocabulary, and stand where no prompt or reply has them. */
const settings: Partial<Record<ObjectiveName, Partial<LossOptions>>> = {
  csft: { desirableControl: ' Thanks!', undesirableControl: ' Hey!' },
}

const alignment: Partial<TrainOptions> = {
  device: 'cpu',
  precision: 'float32',
  batchSize: 32,
  schedule: { type: 'linear', warmup: 0.1 },
}
/** Validation has its own feedback. */
function drawnSeed(seed: number, part: Part): number {
  return part === 'test' ? seed : 1_000_000 + seed
}

/** The demo's shop, whose truth is known: a decoder imitates good and bad assistants alike, replies, is judged, aligned, and asked anew. */
export class Shop implements World {
  readonly measure = 'thumbs up'
  readonly remark =
    'The world is a shop of 40 products and the judge knows the truth: what holds here says how the objectives take feedback of this kind, not how they rank at 7B and more.'
  readonly sizes = ['128', '256', '384']
  readonly #own = '256'
  readonly #size: ShopSize
  readonly #cells: Cells

  constructor(folder: string, size: ShopSize, hooks: Hooks) {
    this.#size = size
    this.#cells = new Cells(folder, hooks)
  }

  async measured(arm: Arm, seed: number, part: Part): Promise<Measured> {
    const { name, start, rows, size = this.#own, rate } = arm
    const loss: LossOptions | null = arm.loss && { ...settings[arm.loss.type], ...arm.loss }
    const course = this.#course(loss && (rate ?? tuned[start][loss.type]), drawnSeed(seed, part))
    const key = {
      start,
      loss,
      rows,
      size,
      course: loss && course,
      seed,
      part,
      sft: start === 'sft' && tuned.base.sft,
      world: this.#size,
    }
    return this.#cells.once('results', key, async () => {
      const drawn = course.seed
      const base = await this.#base(size)
      const feedback = await this.#feedback(base, size, drawn)
      const from = start === 'base' ? base : await this.#sft(base, feedback, size, drawn)
      if (loss === null) return { ...(await this.#thumbs(from, drawn, part)), rows: 0 }
      return this.#cells.scratch(async (path) => {
        const what = { name, model: from, loss }
        const trained = await this.#cells.align(what, shaped(feedback, rows ?? {}, drawn), course, path)
        return { ...(await this.#thumbs(trained.model, drawn, part)), rows: trained.rows }
      })
    })
  }

  #course(factor: number | null | undefined, seed: number): Course {
    const steps = Math.round((this.#size.epochs * 2 * this.#size.prompts) / batchSizeOf(alignment))
    return { learningRate: Number((learningRate * (factor ?? 1)).toPrecision(3)), steps, seed, options: alignment }
  }

  /** A model that imitates good and bad shop assistants alike. */
  async #base(width: string): Promise<string> {
    const { mixtureRows } = this.#size
    return this.#cells.model('base', { width, mixtureRows }, async (path) => {
      const untrained = `${path}-untrained`
      writeDemoFolder(untrained)
      const sizes = { hidden_size: Number(width), intermediate_size: 4 * Number(width) }
      writeFileSync(
        join(untrained, 'config.json'),
        JSON.stringify({ ...demoModelConfig(vocabulary().length), ...sizes }),
      )
      if (!existsSync(join(untrained, 'model.safetensors'))) writeInitialWeights(untrained, 0)
      const course: Partial<TrainOptions> = {
        device: 'cpu',
        precision: 'float32',
        epochs: 3,
        batchSize: 64,
        optimizer: { learningRate: 2e-3 },
        schedule: { type: 'cosine', warmup: 0.05 },
      }
      const rows = sftMixture(mixtureRows, 1)
      return this.#cells.train(
        { loss: { type: 'sft' }, model: untrained, ...course },
        rows,
        path,
        `base, width ${width}`,
      )
    })
  }

  async #sft(base: string, feedback: readonly Judged[], size: string, seed: number): Promise<string> {
    const course = this.#course(tuned.base.sft, seed)
    return this.#cells.model('sft', { size, course, world: this.#size }, async (path) => {
      const what = { model: base, loss: { type: 'sft' }, name: 'SFT' } as const
      return (await this.#cells.align(what, feedback, course, path)).model
    })
  }

  /** Two replies to each prompt, judged by one who knows the truth. */
  async #feedback(base: string, size: string, seed: number): Promise<Judged[]> {
    const { mixtureRows, prompts: count } = this.#size
    return this.#cells.once('feedback', { size, seed, mixtureRows, count }, async () => {
      const prompts = trainingPrompts(this.#size.prompts, 100 + seed).flatMap((prompt) => [prompt, prompt])
      const completions = await this.#replies(base, prompts, seed)
      return prompts.map((prompt, i) => {
        const completion = completions[i]!
        return { prompt, completion, label: judge(prompt, completion).up }
      })
    })
  }

  async #thumbs(model: string, seed: number, part: Part): Promise<Omit<Measured, 'rows'>> {
    const { questions } = this.#size
    const drawn = heldOutPrompts(2 * questions, 4)
    const asked = part === 'test' ? drawn.slice(0, questions) : drawn.slice(questions)
    const replies = await this.#replies(model, asked, 1000 + seed)
    const points: number[] = asked.map((question, i) => Number(judge(question, replies[i]!).up))
    const { share, low, high } = wilson(
      points.reduce((sum, point) => sum + point, 0),
      points.length,
    )
    return { value: share, low, high, points }
  }

  /** One reply to each prompt at temperature 1. */
  async #replies(model: string, prompts: readonly string[], seed: number): Promise<string[]> {
    const tokenizer = loadTokenizer(model)
    const decoder = loadDecoder(model, 'float32')
    const encoded = prompts.map((prompt) => encodePrompt(prompt, tokenizer))
    try {
      return await withComputeWeights(decoder, 'float32', async (weights) => {
        const texts: string[] = []
        const drawing = { maxTokens: 32, seed, stop: tokenizer.eosIds, signal: this.#cells.hooks.signal }
        for await (const { index, tokens } of sample(decoder, weights, encoded, drawing))
          texts[index] = tokenizer.decode(tokens, { skipSpecial: true })
        return texts
      })
    } finally {
      decoder.dispose()
    }
  }
}
