import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Mismatch, Plan } from '../data/plan.ts'
import { defaultCache } from '../data/source/files.ts'
import type { Example } from '../data/types.ts'
import { readSafetensors, writeSafetensors } from '../tensor/safetensors.ts'
import { scope } from '../tensor/scope.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import { concatenated } from './rows.ts'

/** What the log-probabilities are of. */
export interface ReferenceJob {
  examples: readonly Example[]
  plan: Plan
  compute: Dtype
  microBatchTokens: number
  /** Also token by token. */
  tokens: boolean
  /** Rows are pairs, which stay in one micro-batch. */
  pairs: boolean
  /** What computes: another processor, library or setting rounds otherwise. */
  engine: string
}

/** A mismatched pair, and the first step that needs it. */
export interface Pair extends Mismatch {
  key: number
  step: number
}

/** Log-probabilities of all rows and pairs of a job, filled in step by step: NaN, or undefined tokens, where they are not there yet. */
export interface Answers {
  rows: Float32Array
  pairs: Float32Array
  rowTokens: (Float32Array | undefined)[]
  pairTokens: (Float32Array | undefined)[]
}

/**
 * Where the answers of one job are kept: a file named by everything that they depend on (weights, token ids and so template and tokenizer,
 * plan, type of matrix products). While they are computed, parts of them lie beside it, so that work that was killed goes on. Two runs on one
 * job write the same bytes under the same names, by rename, so that neither disturbs the other.
 */
export class ReferenceFile {
  readonly #job: ReferenceJob
  readonly #pairs: readonly Pair[]
  readonly #file: string

  constructor(job: ReferenceJob, pairs: readonly Pair[], weightsHash: string, cache: string | undefined) {
    this.#job = job
    this.#pairs = pairs
    this.#file = join(cache ?? defaultCache(), 'reference', `${contentHash(job, pairs, weightsHash)}.safetensors`)
  }

  /** The answers so far, and how many steps they are of; all of them where an earlier run completed. */
  read(): { answers: Answers; steps: number } {
    for (const file of [this.#file, this.#part]) {
      const answers = this.#empty()
      const steps = this.#load(file, answers)
      if (steps !== null) return { answers, steps: Math.min(steps, this.#job.plan.steps) }
    }
    return { answers: this.#empty(), steps: 0 }
  }

  /** Keeps the answers of the first `steps` steps. */
  keep(answers: Answers, steps: number): void {
    mkdirSync(dirname(this.#file), { recursive: true })
    this.#write(this.#part, answers, steps)
  }

  /** Keeps all, and clears away what was kept before. */
  complete(answers: Answers): void {
    mkdirSync(dirname(this.#file), { recursive: true })
    this.#write(this.#file, answers, this.#job.plan.steps)
    rmSync(this.#part, { force: true })
  }

  get #part(): string {
    return this.#file.replace(/\.safetensors$/, '.part.safetensors')
  }

  #empty(): Answers {
    const [rows, pairs] = [this.#job.examples.length, this.#pairs.length]
    return {
      rows: new Float32Array(rows).fill(Number.NaN),
      pairs: new Float32Array(pairs).fill(Number.NaN),
      rowTokens: new Array(rows),
      pairTokens: new Array(pairs),
    }
  }

  #lengths() {
    const { examples } = this.#job
    return {
      rows: examples.map(({ completion }) => completion.length),
      pairs: this.#pairs.map(({ partner }) => examples[partner]!.completion.length),
    }
  }

  #write(file: string, answers: Answers, steps: number): void {
    const lengths = this.#lengths()
    const flat = (tokens: Answers['rowTokens'], sizes: number[]) =>
      concatenated(sizes.map((size, i) => tokens[i] ?? new Float32Array(size).fill(Number.NaN)))
    scope(() =>
      writeSafetensors(file, [
        ['steps', Tensor.from(Int32Array.of(steps))],
        ['rows', Tensor.from(answers.rows)],
        ['mismatched', Tensor.from(answers.pairs)],
        ...(this.#job.tokens
          ? ([
              ['row_tokens', Tensor.from(flat(answers.rowTokens, lengths.rows))],
              ['mismatched_tokens', Tensor.from(flat(answers.pairTokens, lengths.pairs))],
            ] as [string, Tensor][])
          : []),
      ]),
    )
  }

  /** Reads a file's answers; returns how many steps they are of, or null where there is no such file, or it holds something else. */
  #load(file: string, into: Answers): number | null {
    if (!existsSync(file)) return null
    const { tensors } = readSafetensors(file)
    const load = (name: string) => scope(() => tensors.get(name)?.load().toArray())
    const [steps, rows, pairs] = ['steps', 'rows', 'mismatched'].map(load)
    if (!steps || rows?.length !== into.rows.length || pairs?.length !== into.pairs.length) return null
    into.rows.set(rows)
    into.pairs.set(pairs)
    if (!this.#job.tokens) return steps[0]!
    const lengths = this.#lengths()
    cut(load('row_tokens')!, lengths.rows, into.rowTokens)
    cut(load('mismatched_tokens')!, lengths.pairs, into.pairTokens)
    return steps[0]!
  }
}

function cut(values: Float32Array, lengths: readonly number[], into: (Float32Array | undefined)[]): void {
  let offset = 0
  for (const [i, length] of lengths.entries()) {
    into[i] = values.slice(offset, offset + length)
    offset += length
  }
}

const version = 2 // of how answers are computed: counts up when their bits change

/** Everything that the answers depend on. */
function contentHash(
  { examples, plan, compute, microBatchTokens, tokens, pairs: inPairs, engine }: ReferenceJob,
  pairs: readonly Pair[],
  weights: string,
): string {
  const hash = createHash('sha256').update(
    JSON.stringify({
      ...{
        version,
        weights,
        compute,
        microBatchTokens,
        tokens,
        inPairs,
        engine,
        steps: plan.steps,
        examples: examples.length,
      },
    }),
  )
  for (const { prompt, completion } of examples) {
    hash.update(Uint32Array.of(prompt.length, completion.length)).update(prompt).update(completion)
  }
  for (let step = 0; step < Math.min(plan.steps, plan.stepsPerEpoch); step++)
    hash.update(Int32Array.from(plan.batch(step).rows))
  hash.update(Float64Array.from(pairs, ({ key }) => key))
  return hash.digest('hex')
}
