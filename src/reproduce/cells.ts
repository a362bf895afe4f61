import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type LossOptions, makeObjective } from '../loss/index.ts'
import { version } from '../options/version.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import type { TrainOptions } from '../train/options.ts'
import type { Progress } from '../train/run.ts'
import { train } from '../train/train.ts'
import { type Judged, paired } from './rows.ts'

export interface Hooks {
  progress: Progress
  signal?: AbortSignal
}

/** How an arm is trained beside its objective: all arms of a world share it, but for the learning rate. */
export interface Course {
  learningRate: number
  /** Optimiser steps: as many for every arm, so that one with fewer rows goes through them more often. */
  steps: number
  seed: number
  options: Partial<TrainOptions>
}

/** What is trained and measured under one folder, each thing once: it is found again by all that it was made from. */
export class Cells {
  readonly folder: string
  readonly hooks: Hooks

  constructor(folder: string, hooks: Hooks) {
    this.folder = folder
    this.hooks = hooks
  }

  /** The result of a computation, from the file of an earlier one where there is one. */
  async once<T>(kind: string, of: unknown, compute: () => Promise<T>): Promise<T> {
    const file = join(this.folder, kind, `${keyOf(of)}.json`)
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as T
    const result = await compute()
    mkdirSync(join(this.folder, kind), { recursive: true })
    writeFileAtomic(file, `${JSON.stringify(result)}\n`)
    return result
  }

  /** A trained model that is kept: its folder. */
  async model(kind: string, of: unknown, make: (path: string) => Promise<string>): Promise<string> {
    const path = join(this.folder, `${kind}-${keyOf(of)}`)
    const done = join(path, 'made.json')
    if (existsSync(done)) return JSON.parse(readFileSync(done, 'utf8')) as string
    const model = await make(path)
    writeFileAtomic(done, JSON.stringify(model))
    return model
  }

  /** A folder for what is needed until `work` ends; no two processes share one. */
  async scratch<R>(work: (path: string) => Promise<R>): Promise<R> {
    mkdirSync(this.folder, { recursive: true })
    const path = mkdtempSync(join(this.folder, 'arm-'))
    try {
      return await work(path)
    } finally {
      rmSync(path, { recursive: true, force: true })
    }
  }

  /** Trains with an objective, on the pairs in the rows where it needs pairs; returns the model's folder and the rows it saw. */
  async align(
    { model, loss, name }: { model: string; loss: LossOptions; name: string },
    rows: readonly Judged[],
    course: Course,
    path: string,
  ): Promise<{ model: string; rows: number }> {
    const { needs } = makeObjective(loss)
    const used = needs.pairs ? paired(rows) : needs.labels ? rows : rows.filter(({ label }) => label)
    if (used.length === 0) throw new Error(`${name}: no rows are left to train on; give more feedback`)
    const { learningRate, steps, seed, options } = course
    const seen = used.length * (needs.pairs ? 2 : 1)
    const perEpoch = Math.max(1, Math.floor(seen / batchSizeOf(options)))
    const settings: Partial<TrainOptions> = {
      ...options,
      optimizer: { ...options.optimizer, learningRate },
      loss,
      seed,
      epochs: Math.ceil(steps / perEpoch),
      maxSteps: steps,
    }
    return { model: await this.train({ ...settings, model }, used, path, name), rows: seen }
  }

  /** Trains on rows, with a bar; returns the folder of the model or adapter. */
  async train(
    options: Partial<TrainOptions> & { model: string },
    rows: readonly object[],
    path: string,
    label: string,
  ): Promise<string> {
    const { progress, signal } = this.hooks
    rmSync(path, { recursive: true, force: true }) // what an interrupted training left
    mkdirSync(path, { recursive: true })
    const data = join(path, 'rows.jsonl')
    writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    const quiet: Progress = {
      start: (total, name, done) => progress.start(total, `${label}: ${name}`, done),
      log: () => {},
    }
    const settings = { ...bare, cache: join(this.folder, 'cache'), ...options, data, output: path }
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
}

/** No held-out rows, samples or checkpoints: arms are measured by their replies. */
const bare: Partial<TrainOptions> = {
  evaluation: { split: 0 },
  samples: { prompts: 0 },
  checkpoint: { every: 1_000_000 },
}

export function batchSizeOf({ batchSize = 32 }: Partial<TrainOptions>): number {
  return batchSize
}

/** Another release may train and draw otherwise: it shares nothing with what this one made. */
function keyOf(of: unknown): string {
  return hashOf({ version: version(), of })
}

export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
}
