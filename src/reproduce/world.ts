import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodePrompt, withControl } from '../data/tokenize.ts'
import { loadTokenizer } from '../data/tokenizer.ts'
import { demoModelConfig, writeDemoFolder } from '../demo/folder.ts'
import { judge } from '../demo/judge.ts'
import { sftMixture } from '../demo/mixture.ts'
import { heldOutPrompts, trainingPrompts } from '../demo/prompts.ts'
import { vocabulary } from '../demo/tokenizer.ts'
import { sample } from '../infer/sample.ts'
import { makeObjective } from '../loss/index.ts'
import { writeInitialWeights } from '../model/create.ts'
import { loadDecoder } from '../model/load.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import type { TrainOptions } from '../train/options.ts'
import { withComputeWeights } from '../train/passes.ts'
import type { Progress } from '../train/run.ts'
import { train } from '../train/train.ts'
import type { Arm } from './experiments.ts'
import { type Judged, paired, shaped } from './rows.ts'

export interface Size {
  mixtureRows: number
  prompts: number
  questions: number
}

export interface Measured {
  /** Replies that get a thumbs up, of so many to questions that were never trained on. */
  successes: number
  total: number
  rows: number
}

interface Hooks {
  progress: Progress
  signal?: AbortSignal
}

const shared: Partial<TrainOptions> = {
  precision: 'float32',
  evaluation: { split: 0 },
  samples: { prompts: 0 },
  checkpoint: { every: 1_000_000 },
}

/**
 * The demo's shop, in which models are trained, judged and measured. All that is made is kept under `folder` by what it was made from: experiments share it, and
 * an interrupted one goes on.
 */
export class World {
  readonly #folder: string
  readonly #size: Size
  readonly #hooks: Hooks

  constructor(folder: string, size: Size, hooks: Hooks) {
    this.#folder = folder
    this.#size = size
    this.#hooks = hooks
  }

  /** Trains one arm with one seed, and counts the thumbs up of its replies. */
  async measure(arm: Arm, seed: number): Promise<Measured> {
    const { start, loss, rows, width = 256 } = arm
    const file = join(this.#folder, 'results', `${hashOf({ start, loss, rows, width, seed, size: this.#size })}.json`)
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as Measured
    mkdirSync(join(this.#folder, 'results'), { recursive: true })
    const base = await this.#base(width)
    const feedback = await this.#feedback(base, width, seed)
    const from = start === 'base' ? base : await this.#sft(base, feedback, width, seed)
    const result =
      loss === null
        ? await this.#thumbs(from, seed)
        : await this.#trained(arm, from, shaped(feedback, rows ?? {}, seed), seed)
    writeFileAtomic(file, `${JSON.stringify(result)}\n`)
    return result
  }

  async #trained({ name, loss }: Arm, from: string, rows: readonly Judged[], seed: number): Promise<Measured> {
    const { needs } = makeObjective(loss!)
    const used = needs.pairs ? paired(rows) : rows
    const path = join(this.#folder, 'arm')
    rmSync(path, { recursive: true, force: true })
    const model = await this.#train({ loss: loss!, model: from, ...alignment, seed }, used, path, name)
    const result = await this.#thumbs(model, seed, needs.control?.desirable)
    rmSync(path, { recursive: true, force: true })
    return { ...result, rows: used.length }
  }

  /** A model that imitates good and bad shop assistants alike. */
  async #base(width: number): Promise<string> {
    const path = join(this.#folder, `base-${width}-${this.#size.mixtureRows}`)
    const model = join(path, 'run', 'model')
    if (existsSync(model)) return model
    const untrained = join(path, 'untrained')
    writeDemoFolder(untrained)
    const config = { ...demoModelConfig(vocabulary().length), hidden_size: width, intermediate_size: 4 * width }
    writeFileSync(join(untrained, 'config.json'), JSON.stringify(config))
    writeInitialWeights(untrained, 0)
    const settings: Partial<TrainOptions> = {
      epochs: 2,
      optimizer: { learningRate: 2e-3 },
      schedule: { type: 'cosine', warmup: 0.05 },
    }
    const rows = sftMixture(this.#size.mixtureRows, 1)
    return this.#train(
      { loss: { type: 'sft' }, model: untrained, ...settings },
      rows,
      join(path, 'run'),
      `base, width ${width}`,
    )
  }

  async #sft(base: string, feedback: readonly Judged[], width: number, seed: number): Promise<string> {
    const path = join(this.#folder, `sft-${hashOf({ width, seed, size: this.#size })}`)
    const model = join(path, 'model')
    return existsSync(model)
      ? model
      : this.#train({ loss: { type: 'sft' }, model: base, ...alignment, seed }, feedback, path, 'SFT')
  }

  /** Two replies to each prompt, judged by one who knows the truth. */
  async #feedback(base: string, width: number, seed: number): Promise<Judged[]> {
    const file = join(this.#folder, `feedback-${hashOf({ width, seed, size: this.#size })}.jsonl`)
    if (existsSync(file))
      return readFileSync(file, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Judged)
    const prompts = trainingPrompts(this.#size.prompts, 100 + seed).flatMap((prompt) => [prompt, prompt])
    const completions = await this.#replies(base, prompts, seed)
    const rows = prompts.map((prompt, i) => ({
      prompt,
      completion: completions[i]!,
      label: judge(prompt, completions[i]!).up,
    }))
    writeFileAtomic(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    return rows
  }

  async #thumbs(model: string, seed: number, control?: string): Promise<Measured> {
    const questions = heldOutPrompts(this.#size.questions, 4)
    const replies = await this.#replies(model, questions, 1000 + seed, control)
    return {
      successes: questions.filter((question, i) => judge(question, replies[i]!).up).length,
      total: questions.length,
      rows: 0,
    }
  }

  async #train(
    options: Partial<TrainOptions> & { model: string },
    rows: readonly object[],
    path: string,
    label: string,
  ): Promise<string> {
    const { progress, signal } = this.#hooks
    rmSync(path, { recursive: true, force: true }) // what an interrupted training left
    mkdirSync(path, { recursive: true })
    const data = join(path, 'rows.jsonl')
    writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    const quiet: Progress = {
      start: (total, name, done) => progress.start(total, `${label}: ${name}`, done),
      log: () => {},
    }
    const settings = { ...shared, batchSize: 64, cache: join(this.#folder, 'cache'), ...options, data, output: path }
    const run = await train(settings as TrainOptions, { progress: quiet, signal })
    let bar: ReturnType<Progress['start']> | undefined
    for await (const { step, steps } of run) {
      bar ??= progress.start(steps, label)
      bar.update(step)
    }
    bar?.stop()
    const { model } = await run.finished
    if (model === null) throw signal?.reason
    return model
  }

  /** One reply to each prompt at temperature 1; a control text stands between. */
  async #replies(model: string, prompts: readonly string[], seed: number, control?: string): Promise<string[]> {
    const tokenizer = loadTokenizer(model)
    const decoder = loadDecoder(model, 'float32')
    const encoded = prompts.map((prompt) => {
      const ids = encodePrompt(prompt, tokenizer)
      return control === undefined ? ids : withControl(ids, control, tokenizer)
    })
    try {
      return await withComputeWeights(decoder, 'float32', async (weights) => {
        const texts: string[] = []
        const settings = { maxTokens: 32, seed, stop: tokenizer.eosIds, signal: this.#hooks.signal }
        for await (const { index, tokens } of sample(decoder, weights, encoded, settings))
          texts[index] = tokenizer.decode(tokens, { skipSpecial: true })
        return texts
      })
    } finally {
      decoder.dispose()
    }
  }
}

/** The same for all arms. */
const alignment: Partial<TrainOptions> = {
  epochs: 1,
  optimizer: { learningRate: 1e-4 },
  schedule: { type: 'linear', warmup: 0.1 },
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
}
