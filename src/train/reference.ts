import { setImmediate } from 'node:timers/promises'
import type { Sequence } from '../data/types.ts'
import type { Decoder } from '../model/decoder.ts'
import type { Weights } from '../model/layers.ts'
import { mismatchedSequences, pairKey, pairsOf, type ReferenceLogps } from './batches.ts'
import { KnownPrompts, sequenceLogps, sequenceTokenLogps, tokenSums, withComputeWeights } from './passes.ts'
import { type Answers, type Pair, ReferenceFile, type ReferenceJob } from './reference-cache.ts'
import type { Progress } from './run.ts'
import { sequencesOf } from './step.ts'

export type { ReferenceJob } from './reference-cache.ts'

export interface PassSettings {
  /** Folder of the cache; the user's where it is left out. */
  cache?: string
  progress?: Progress
  signal?: AbortSignal
  /** How often work in progress is kept, for a process that is killed. */
  keepEveryMs?: number
}

/**
 * Log-probabilities under the reference of all rows and mismatched pairs of a plan, read from `cache` where it has them. `weightsHash` stands
 * for the reference's weights; `load` gives its decoder, and is only called where the cache lacks the answer. Rows go through in the plan's own batches, so
 * that an untrained policy gives the very same bits, and every reward of the first step is exactly 0.
 */
export async function referenceLogps(
  job: ReferenceJob,
  weightsHash: string,
  load: () => Decoder,
  { cache, progress, signal, keepEveryMs = 10_000 }: PassSettings,
): Promise<ReferenceLogps> {
  const pairs = distinctPairs(job)
  const file = new ReferenceFile(job, pairs, weightsHash, cache)
  const { answers, steps } = file.read()
  if (steps < job.plan.steps) {
    await compute(job, pairs, load, { file, answers, steps }, { progress, signal, keepEveryMs })
    file.complete(answers)
  }
  const byKey = <T>(values: ArrayLike<T>) => new Map(pairs.map(({ key }, i) => [key, values[i]!]))
  return {
    rows: answers.rows,
    mismatched: byKey(answers.pairs),
    tokens: job.tokens
      ? { rows: answers.rowTokens as Float32Array[], mismatched: byKey(answers.pairTokens as Float32Array[]) }
      : null,
  }
}

function distinctPairs({ plan, examples }: ReferenceJob): Pair[] {
  const seen = new Map<number, Pair>()
  for (let step = 0; step < plan.steps; step++) {
    for (const { row, partner } of pairsOf(plan, step)) {
      const key = pairKey(row, partner, examples.length)
      if (!seen.has(key)) seen.set(key, { row, partner, key, step })
    }
  }
  return [...seen.values()]
}

async function compute(
  job: ReferenceJob,
  pairs: readonly Pair[],
  load: () => Decoder,
  begun: { file: ReferenceFile; answers: Answers; steps: number },
  { progress, signal, keepEveryMs }: PassSettings & { keepEveryMs: number },
): Promise<void> {
  const { examples, plan } = job
  const { file, answers } = begun
  const dueAt = positionsByStep(pairs)
  const rowsUsed = Math.min(examples.length, plan.steps * plan.batch(0).rows.length)
  let done = countKnown(answers.rows) + countKnown(answers.pairs)
  const bar = progress?.start(rowsUsed + pairs.length, 'reference log-probabilities', done)
  let kept = { steps: begun.steps, at: performance.now() }
  const keep = (steps: number) => {
    if (steps > kept.steps) file.keep(answers, steps)
    kept = { steps, at: performance.now() }
  }
  const decoder = load()
  try {
    await withComputeWeights(decoder, job.compute, async (weights) => {
      for (let step = begun.steps; step < plan.steps; step++) {
        if (signal?.aborted) keep(step)
        signal?.throwIfAborted()
        const fresh = plan.batch(step).rows.filter((index) => Number.isNaN(answers.rows[index]))
        const due = dueAt.get(step) ?? []
        const rows = sequencesOf(
          fresh.map((index) => examples[index]!),
          job,
        )
        const mismatched = mismatchedSequences(
          examples,
          due.map((position) => pairs[position]!),
        )
        const [ofRows, ofPairs] = sharingPrompts((known) => [
          logpsOf(job, decoder, weights, rows, null, known),
          logpsOf(job, decoder, weights, mismatched, known),
        ])
        fill(answers.rows, answers.rowTokens, fresh, ofRows)
        fill(answers.pairs, answers.pairTokens, due, ofPairs)
        done += fresh.length + due.length
        bar?.update(done)
        if (performance.now() - kept.at > keepEveryMs) keep(step + 1)
        if (fresh.length + due.length > 0) await setImmediate()
      }
    })
  } finally {
    bar?.stop()
  }
}

/** Mismatched completions read the prompts of the rows' pass, as in a training step. */
export function sharingPrompts<R>(work: (known: KnownPrompts) => R): R {
  const known = new KnownPrompts()
  try {
    return work(known)
  } finally {
    known.dispose()
  }
}

interface Logps {
  sums: Float32Array
  tokens: Float32Array[] | null
}

/** Log-probabilities of sequences, and of their tokens where these are wanted. */
export function logpsOf(
  { tokens: needed, microBatchTokens }: Pick<ReferenceJob, 'tokens' | 'microBatchTokens'>,
  decoder: Decoder,
  weights: Weights,
  sequences: readonly Sequence[],
  known: KnownPrompts | null,
  keep?: KnownPrompts,
): Logps {
  if (!needed) return { sums: sequenceLogps(decoder, weights, sequences, microBatchTokens, known, keep), tokens: null }
  const tokens = sequenceTokenLogps(decoder, weights, sequences, microBatchTokens, known, keep)
  return { sums: tokenSums(tokens), tokens }
}

function fill(
  into: Float32Array,
  tokensInto: (Float32Array | undefined)[],
  positions: readonly number[],
  { sums, tokens }: Logps,
): void {
  for (const [i, position] of positions.entries()) {
    into[position] = sums[i]!
    if (tokens) tokensInto[position] = tokens[i]!
  }
}

function countKnown(values: Float32Array): number {
  return values.reduce((count, value) => count + Number(!Number.isNaN(value)), 0)
}

/** The positions of the pairs that each step is the first to need. */
function positionsByStep(pairs: readonly Pair[]): Map<number, number[]> {
  const groups = new Map<number, number[]>()
  for (const [position, { step }] of pairs.entries()) {
    const group = groups.get(step)
    if (group) group.push(position)
    else groups.set(step, [position])
  }
  return groups
}
