import { createHash } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Plan } from '../data/plan.ts'
import type { Example, Sequence } from '../data/types.ts'
import type { Decoder } from '../model/decoder.ts'
import { readSafetensors, writeSafetensors } from '../tensor/safetensors.ts'
import { scope } from '../tensor/scope.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import { mismatchedSequences, pairKey, pairsOf, type ReferenceLogps } from './batches.ts'
import { sequenceLogps, withComputeWeights } from './passes.ts'
import type { Progress } from './run.ts'
import { sequencesOf } from './step.ts'

/** What the log-probabilities are of. */
export interface ReferenceJob {
  examples: readonly Example[]
  plan: Plan
  compute: Dtype
  microBatchTokens: number
}

/**
 * Log-probabilities under the reference of all rows and mismatched pairs of a plan, read from `cache` where it has them. `weightsHash` stands
 * for the reference's weights; its decoder is only loaded where the cache lacks the answer. Rows go through in the plan's own batches, so
 * that an untrained policy gives the very same bits, and every reward of the first step is exactly 0.
 */
export async function referenceLogps(
  job: ReferenceJob,
  weightsHash: string,
  load: () => Decoder,
  { cache, progress, signal }: { cache?: string; progress?: Progress; signal?: AbortSignal },
): Promise<ReferenceLogps> {
  const pairs = distinctPairs(job)
  const folder = join(cache ?? defaultCache(), 'reference')
  const file = join(folder, `${contentHash(job, pairs, weightsHash)}.safetensors`)
  const known = readCached(file, job, pairs)
  if (known) return known
  const result = await compute(job, pairs, load, { progress, signal })
  mkdirSync(folder, { recursive: true })
  scope(() => {
    const mismatched = Float32Array.from(pairs, ({ key }) => result.mismatched.get(key)!)
    writeSafetensors(file, [
      ['rows', Tensor.from(result.rows)],
      ['mismatched', Tensor.from(mismatched)],
    ])
  })
  return result
}

interface Pair {
  row: number
  partner: number
  key: number
  /** The first step that needs it. */
  step: number
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

/** Everything that the result depends on. */
function contentHash(
  { examples, plan, compute, microBatchTokens }: ReferenceJob,
  pairs: Pair[],
  weights: string,
): string {
  const hash = createHash('sha256').update(
    JSON.stringify({ weights, compute, microBatchTokens, examples: examples.length }),
  )
  for (const { prompt, completion } of examples) {
    hash.update(Uint32Array.of(prompt.length, completion.length)).update(prompt).update(completion)
  }
  for (let step = 0; step < Math.min(plan.steps, plan.stepsPerEpoch); step++)
    hash.update(Int32Array.from(plan.batch(step).rows))
  hash.update(Float64Array.from(pairs, ({ key }) => key))
  return hash.digest('hex')
}

function readCached(file: string, { examples }: ReferenceJob, pairs: Pair[]): ReferenceLogps | null {
  if (!existsSync(file)) return null
  return scope(() => {
    const { tensors } = readSafetensors(file)
    const [rows, mismatched] = ['rows', 'mismatched'].map((name) => tensors.get(name)!.load().toArray())
    if (rows!.length !== examples.length || mismatched!.length !== pairs.length) return null
    return { rows: rows!, mismatched: new Map(pairs.map(({ key }, i) => [key, mismatched![i]!])) }
  })
}

async function compute(
  { examples, plan, compute, microBatchTokens }: ReferenceJob,
  pairs: Pair[],
  load: () => Decoder,
  { progress, signal }: { progress?: Progress; signal?: AbortSignal },
): Promise<ReferenceLogps> {
  const rows = new Float32Array(examples.length).fill(Number.NaN)
  const mismatched = new Map<number, number>()
  const firstNeededAt = groupByStep(pairs)
  const rowsUsed = Math.min(examples.length, plan.steps * plan.batch(0).rows.length)
  const bar = progress?.start(rowsUsed + pairs.length, 'reference log-probabilities')
  const decoder = load()
  try {
    await withComputeWeights(decoder, compute, async (weights) => {
      let done = 0
      for (let step = 0; step < plan.steps; step++) {
        signal?.throwIfAborted()
        const fresh = plan.batch(step).rows.filter((index) => Number.isNaN(rows[index]))
        const due = firstNeededAt.get(step) ?? []
        const logps = (sequences: Sequence[]) => sequenceLogps(decoder, weights, sequences, microBatchTokens)
        logps(sequencesOf(fresh.map((index) => examples[index]!))).forEach((value, i) => {
          rows[fresh[i]!] = value
        })
        logps(mismatchedSequences(examples, due)).forEach((value, i) => {
          mismatched.set(due[i]!.key, value)
        })
        done += fresh.length + due.length
        bar?.update(done)
        if (fresh.length + due.length > 0) await setImmediate()
      }
    })
  } finally {
    bar?.stop()
    decoder.dispose()
  }
  return { rows, mismatched }
}

function groupByStep(pairs: Pair[]): Map<number, Pair[]> {
  const groups = new Map<number, Pair[]>()
  for (const pair of pairs) {
    const group = groups.get(pair.step)
    if (group) group.push(pair)
    else groups.set(pair.step, [pair])
  }
  return groups
}

/** Where caches go: PROSPECT_CACHE, or prospect in the user's cache folder. */
export function defaultCache(): string {
  return process.env.PROSPECT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'prospect')
}
