import { addon, engineBuild } from './addon.ts'
import { cudaProblem, findGpus, type Gpus } from './device.ts'
import { bindOperators } from './operators.ts'
import { blasKernelWarning, defaultThreads, hasBfloat16, processorName } from './processor.ts'

/** What runs underneath, for `prospect doctor` and the start of a run. */
export interface EngineReport {
  libtorch: { version: string; source: string; library: string; cuda: boolean }
  processor: { name: string; threads: number; capability: string; bfloat16: boolean }
  blas: { kernel: string | null; library: string | null }
  /** `problem`: why training cannot use one; empty where it can. */
  gpus: Gpus
  warnings: string[]
}

/** Loads libtorch and says what was found. Throws where the addon is not built or libtorch lacks an operator. */
export function inspectEngine(): EngineReport {
  bindOperators()
  const native = addon().engine()
  const build = engineBuild()
  const gpus = findGpus()
  const kernelWarning = blasKernelWarning(native.blasKernel)
  return {
    libtorch: {
      version: native.version,
      source: build.libtorch.source,
      library: native.library,
      cuda: build.libtorch.cuda,
    },
    processor: {
      name: processorName(),
      threads: addon().threads(),
      capability: /CPU capability usage: (\S+)/.exec(native.config)?.[1] ?? 'unknown',
      bfloat16: hasBfloat16(),
    },
    blas: { kernel: native.blasKernel, library: native.blasLibrary },
    gpus: { ...gpus, problem: gpus.problem || (gpus.loaded ? '' : cudaProblem()) },
    warnings: kernelWarning ? [kernelWarning] : [],
  }
}

/** Sets how many threads operators use, in this thread; null: one a physical core. Returns the number in use. */
export function setThreads(count: number | null): number {
  return addon().threads(count ?? defaultThreads())
}

/**
 * Bytes in tensors now, the most since `resetPeakMemory()`, those of the largest tensor that was made since, and bytes kept for reuse. Tensors
 * below 64 KB are not counted.
 */
export function memoryUse(): { live: number; peak: number; largest: number; cached: number } {
  return addon().memory()
}

export function resetPeakMemory(): void {
  addon().resetPeakMemory()
}

/** Gives cached blocks back to the system. */
export function emptyCachedMemory(): void {
  addon().emptyCachedMemory()
}
