import { type Device, deviceMemory } from '../tensor/device.ts'

/** A pass that does not fit in memory: which it was, what it needed, and what to lower. */
export class OutOfMemoryError extends Error {}

/** What a pass worked on. */
export interface PassSize {
  /** From 1, of so many in the step. */
  number: number
  of: number
  rows: number
  tokens: number
  microBatchTokens: number
}

/** Whether an error is libtorch's, or this one, for memory that could not be had. */
export function isOutOfMemory(error: unknown): boolean {
  return (
    error instanceof OutOfMemoryError ||
    /out of memory|can't allocate memory|bad_alloc|CUBLAS_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)/i.test(String(error))
  )
}

/** Runs a pass; where it runs out of memory, the error says what to do. */
export function namingMicroBatch<R>(device: Device, size: () => PassSize, work: () => R): R {
  try {
    return work()
  } catch (error) {
    if (!isOutOfMemory(error) || error instanceof OutOfMemoryError) throw error
    throw new OutOfMemoryError(outOfMemoryText(device, size(), String(error)), { cause: error })
  }
}

export function outOfMemoryText(device: Device, size: PassSize, said: string): string {
  const { number, of, rows, tokens, microBatchTokens } = size
  const wanted = /tried to allocate ([\d.]+ ?[KMGT]?i?B(?:ytes)?)|you tried to allocate (\d+) bytes/i.exec(said)
  const needed = wanted?.[1] ?? (wanted?.[2] ? gibibytes(Number(wanted[2])) : 'memory')
  const memory = deviceMemory(device)
  const use = memory
    ? `; ${gibibytes(memory.allocated)} of ${gibibytes(memory.total)} are in tensors, ${gibibytes(memory.peakAllocated)} were at most`
    : ''
  const row =
    rows === 1 ? 'it is one row, so shorten rows (--max-length)' : `lower --micro-batch-tokens below ${tokens}`
  return (
    `micro-batch ${number} of ${of} (${rows} rows, ${tokens} tokens; --micro-batch-tokens ${microBatchTokens}) does not fit in the memory of ` +
    `${device}: ${needed} more was asked for${use}. To fit, ${row} (auto finds the largest that fits), compute blocks again in the backward pass ` +
    '(--gradient-checkpointing), or train an adapter (--adapter lora, with --load-in 4bit for less)'
  )
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`
}
