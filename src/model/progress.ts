import type { Progress, ProgressPiece } from '../train/run.ts'

/** Called with how many bytes of all have been read. */
export type OnBytes = (bytes: number, total: number) => void

/** Shows how many megabytes work has read. The bar comes with its first bytes, and goes with its end. */
export function showingBytes<R>(
  progress: Pick<Progress, 'start'> | undefined,
  label: string,
  work: (onBytes: OnBytes) => R,
): R {
  let piece: ProgressPiece | undefined
  const stop = () => piece?.stop()
  const onBytes: OnBytes = (bytes, total) => {
    piece ??= progress?.start(megabytes(total), label)
    piece?.update(megabytes(bytes))
  }
  let result: R
  try {
    result = work(onBytes)
  } catch (error) {
    stop()
    throw error
  }
  if (result instanceof Promise) return result.finally(stop) as R
  stop()
  return result
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6)
}
