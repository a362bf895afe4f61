import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { configYaml, readConfig } from '../options/config.ts'
import { OptionError, validate } from '../options/validate.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import { type ResolvedTrainOptions, trainOptions } from './options.ts'

/** Files of a run to which a line is appended at a time. Each line is an object with a `step`. */
const logs = ['metrics', 'timing', 'evaluation', 'samples'] as const
type Log = (typeof logs)[number]

/** Paths in a run directory, and its files apart from checkpoints and models. */
export class RunDirectory {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /** Makes the directory of a new run. Throws where it holds a run already, or anything under a name that a run writes to. */
  static create(path: string, options: ResolvedTrainOptions): RunDirectory {
    const directory = new RunDirectory(path)
    if (existsSync(directory.configFile)) {
      throw new OptionError(
        `output: ${path} holds a run already; choose another directory, or continue with --resume ${path}`,
      )
    }
    const taken = directory.#written.find((name) => existsSync(name))
    if (taken !== undefined) {
      throw new OptionError(
        `output: ${taken} is there already, and a run would write over it; choose a directory that is empty or new`,
      )
    }
    mkdirSync(path, { recursive: true })
    writeFileAtomic(directory.configFile, configYaml(options))
    return directory
  }

  /** Takes back what `create` made, for a run that ended before its first step. What else is in the directory stays. */
  discard(): void {
    for (const file of [this.configFile, this.dataFile, this.densityFile]) rmSync(file, { force: true })
    if (readdirSync(this.path).length === 0) rmdirSync(this.path)
  }

  get configFile(): string {
    return join(this.path, 'config.yaml')
  }
  get dataFile(): string {
    return join(this.path, 'data.json')
  }
  /** Weights of thumbs-down rows by their prompts, where the objective has them. */
  get densityFile(): string {
    return join(this.path, 'density-ratio.safetensors')
  }
  get checkpoints(): string {
    return join(this.path, 'checkpoints')
  }
  get model(): string {
    return join(this.path, 'model')
  }
  get adapter(): string {
    return join(this.path, 'adapter')
  }
  /** What a complete run has made; null where it is not complete. */
  get result(): string | null {
    return [this.model, this.adapter].find((path) => existsSync(path)) ?? null
  }

  /** The model of the best evaluation, where that is kept. */
  get best(): string {
    return join(this.path, 'best')
  }

  /** All that a run makes, apart from temporary files. */
  get #written(): string[] {
    const { dataFile, densityFile, checkpoints, model, adapter, best } = this
    const others = ['value-head.safetensors', 'report.html'].map((name) => join(this.path, name))
    return [dataFile, densityFile, checkpoints, model, adapter, best, ...others, ...logs.map((log) => this.#file(log))]
  }

  /** The options that the run was started with. */
  readOptions(): ResolvedTrainOptions {
    if (!existsSync(this.configFile)) {
      throw new OptionError(`${this.path} is no run directory: it has no config.yaml; give one as in runs/<name>`)
    }
    const config = readConfig(this.configFile, trainOptions)
    return validate(trainOptions, config.values, config.locate)
  }

  append<T extends { step: number }>(log: Log, entry: T): void {
    appendFileSync(this.#file(log), `${JSON.stringify(entry)}\n`)
  }

  read<T extends { step: number }>(log: Log): T[] {
    if (!existsSync(this.#file(log))) return []
    const lines = readFileSync(this.#file(log), 'utf8').split('\n').filter(Boolean)
    return lines.flatMap((line, i) => {
      try {
        return [JSON.parse(line) as T]
      } catch (error) {
        if (i === lines.length - 1) return [] // the process was killed while it wrote this line
        throw new Error(`${this.#file(log)}:${i + 1}: ${(error as Error).message}`)
      }
    })
  }

  /** Takes back what was logged after a step, since the steps after it will be done again. */
  rewind(step: number): void {
    for (const log of logs) {
      const kept = this.read(log).filter((entry) => entry.step <= step)
      const text = kept.map((entry) => `${JSON.stringify(entry)}\n`).join('')
      if (existsSync(this.#file(log))) writeFileAtomic(this.#file(log), text)
    }
  }

  #file(log: Log): string {
    return join(this.path, `${log}.jsonl`)
  }
}
