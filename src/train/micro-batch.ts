import type { Example } from '../data/types.ts'
import { type DeviceMemory, deviceMemory, emptyDeviceCache, resetDevicePeak } from '../tensor/device.ts'
import { isOutOfMemory } from './out-of-memory.ts'
import type { Progress } from './run.ts'
import { accumulateGradients, type Batch, type Trainer } from './step.ts'

/** What `auto` is on the processor, whose memory is seldom what bounds a micro-batch. */
export const processorTokens = 2048
/** Share of a GPU's memory that may be in use at the peak of a pass: batches differ, and the driver needs some itself. */
const usable = 0.9
/** Products with as many rows keep a GPU busy: longer passes take memory and bring no speed. */
const enough = 16_384

/**
 * The most tokens that one forward and backward pass may have on the trainer's GPU, up to `enough` or the longest batch there can be, found by trying.
 * Rows are the longest of the data. `beside`: bytes that the run will have on the GPU on top of what the trainer has. Gradients are cleared afterwards.
 */
export function largestMicroBatch(
  trainer: Trainer,
  examples: readonly Example[],
  batchSize: number,
  beside: number,
  progress?: Progress,
): number {
  const longestFirst = unitsOf(examples, trainer.objective.needs.pairs).sort((a, b) => tokensOf(b) - tokensOf(a))
  const all = longestFirst.flat().slice(0, Math.max(2, batchSize))
  const fits = (tokens: number) => {
    const { device } = trainer.decoder
    const rows = rowsOf(longestFirst, tokens)
    const fit = tryPass(trainer, rows, beside)
    progress?.log(`--micro-batch-tokens auto: ${tokensOf(rows)} tokens ${fit ? 'fit' : 'do not fit'} on ${device}`)
    return fit
  }
  return largestThatFits(fits, Math.min(enough, tokensOf(all)))
}

/** The largest number up to `most`, to a sixteenth, for which `fits` holds; it must hold for all below one that it holds for. At least 1. */
export function largestThatFits(fits: (tokens: number) => boolean, most: number): number {
  let [low, high] = [most, most]
  while (low > 1 && !fits(low)) [low, high] = [Math.floor(low / 2), low]
  while (high - low > Math.max(1, low / 16)) {
    const middle = Math.floor((low + high) / 2)
    if (fits(middle)) low = middle
    else high = middle
  }
  return low
}

function tryPass(trainer: Trainer, rows: readonly Example[], beside: number): boolean {
  const { decoder, optimizer } = trainer
  resetDevicePeak(decoder.device)
  try {
    accumulateGradients({ ...trainer, microBatchTokens: Number.MAX_SAFE_INTEGER }, batchOf(rows))
    const memory = deviceMemory(decoder.device)
    return memory === null || hasRoom(memory, beside)
  } catch (error) {
    if (isOutOfMemory(error)) return false
    throw error
  } finally {
    optimizer.clearGradients()
    emptyDeviceCache(decoder.device)
  }
}

/** Whether a GPU on which that much was used at most has room for so many more bytes. What others hold of it, and the driver, counts as used. */
export function hasRoom({ peakAllocated, reserved, free, total }: DeviceMemory, beside: number): boolean {
  const ofOthers = Math.max(0, total - free - reserved)
  return peakAllocated + ofOthers + beside <= usable * total
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
