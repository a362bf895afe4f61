import type { Example } from '../data/types.ts'
import { deviceMemory, emptyDeviceCache, resetDevicePeak } from '../tensor/device.ts'
import { isOutOfMemory } from './out-of-memory.ts'
import type { Progress } from './run.ts'
import { accumulateGradients, type Batch, type Trainer } from './step.ts'

/** What `auto` is on the processor, whose memory is seldom what bounds a micro-batch. */
export const processorTokens = 2048
/** Share of a GPU's memory that may be in use at the peak of a pass: batches differ, and the driver needs some itself. */
const usable = 0.9
/** The search starts here, and ends when its bounds are a sixteenth apart. */
const fewest = 512

/**
 * The most tokens that one forward and backward pass may have on the trainer's GPU, found by trying: doubled until they do not fit, or until the
 * longest batch of the plan is one pass, then halved in between. Rows are the longest of the data. Gradients are cleared afterwards.
 */
export function largestMicroBatch(
  trainer: Trainer,
  examples: readonly Example[],
  batchSize: number,
  progress?: Progress,
): number {
  const longestFirst = unitsOf(examples, trainer.objective.needs.pairs).sort((a, b) => tokensOf(b) - tokensOf(a))
  const all = longestFirst.flat().slice(0, Math.max(2, batchSize))
  const most = tokensOf(all)
  const fits = (tokens: number) => {
    const { device } = trainer.decoder
    const rows = rowsOf(longestFirst, Math.min(tokens, most))
    const fit = tryPass(trainer, rows)
    progress?.log(`--micro-batch-tokens auto: ${tokensOf(rows)} tokens ${fit ? 'fit' : 'do not fit'} on ${device}`)
    return fit
  }
  return largestThatFits(fits, fewest, most)
}

/** The largest number up to `most`, to a sixteenth, for which `fits` holds; it must hold for all below one that it holds for. */
export function largestThatFits(fits: (tokens: number) => boolean, first: number, most: number): number {
  let low = first
  if (!fits(low)) {
    while (low > 1 && !fits(Math.floor(low / 2))) low = Math.floor(low / 2)
    return Math.max(1, Math.floor(low / 2))
  }
  let high = low
  while (low < most) {
    high = low * 2
    if (!fits(high)) break
    low = high
  }
  if (low >= most) return low
  while (high - low > Math.max(1, low / 16)) {
    const middle = Math.floor((low + high) / 2)
    if (fits(middle)) low = middle
    else high = middle
  }
  return low
}

function tryPass(trainer: Trainer, rows: readonly Example[]): boolean {
  const { decoder, optimizer } = trainer
  resetDevicePeak(decoder.device)
  try {
    accumulateGradients({ ...trainer, microBatchTokens: Number.MAX_SAFE_INTEGER }, batchOf(rows))
    const memory = deviceMemory(decoder.device)
    return memory === null || memory.peakAllocated + outside(memory) <= usable * memory.total
  } catch (error) {
    if (isOutOfMemory(error)) return false
    throw error
  } finally {
    optimizer.clearGradients()
    emptyDeviceCache(decoder.device)
  }
}

/** What others hold of the GPU, and the driver. */
function outside({ total, free, reserved }: { total: number; free: number; reserved: number }): number {
  return Math.max(0, total - free - reserved)
}

/** Log-probabilities do not change what a pass takes. */
function batchOf(rows: readonly Example[]): Batch {
  return {
    rows,
    referenceLogps: new Float32Array(rows.length),
    referenceTokens: rows.map(({ completion }) => new Float32Array(completion.length)),
    mismatched: [],
    mismatchedReferenceLogps: new Float32Array(),
    mismatchedReferenceTokens: [],
  }
}

/** Rows that must be in one micro-batch: with pairs, both of one. */
function unitsOf(examples: readonly Example[], pairs: boolean): Example[][] {
  if (!pairs) return examples.map((example) => [example])
  const units = new Map<unknown, Example[]>()
  for (const example of examples) units.set(example.pair, [...(units.get(example.pair) ?? []), example])
  return [...units.values()].filter(({ length }) => length === 2)
}

/** The longest units that have up to so many tokens together; at least one. */
function rowsOf(units: readonly Example[][], tokens: number): Example[] {
  const rows: Example[] = []
  let sum = 0
  for (const unit of units) {
    const own = tokensOf(unit)
    if (rows.length > 0 && sum + own > tokens) continue
    sum += own
    rows.push(...unit)
  }
  return rows
}

function tokensOf(rows: readonly Example[]): number {
  return rows.reduce((sum, { prompt, completion }) => sum + prompt.length + completion.length, 0)
}
