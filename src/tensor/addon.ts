import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { bestCapability, defaultThreads, processorIsShared } from './processor.ts'

/** What the native addon gives; tensors are handles (numbers) here and `Tensor` everywhere else. See native/addon.cc. */
export interface Addon {
  call(operator: number, ...values: unknown[]): unknown
  operatorIndex(name: string): number
  operatorSchema(operator: number): { text: string; arguments: { name: string; tensor: boolean; list: boolean }[] }
  drop(handle: number): void
  live(): number
  shape(handle: number): number[]
  dtype(handle: number): string
  device(handle: number): string
  item(handle: number): number
  fromBytes(bytes: ArrayBufferView, shape: readonly number[], dtype: string, device?: string): number
  toBytes(handle: number): ArrayBuffer
  mapFile(path: string): unknown
  mappedBytes(mapping: unknown): ArrayBuffer
  mappedTensor(mapping: unknown, offset: number, shape: readonly number[], dtype: string): number
  newWriting(): unknown
  addToWriting(writing: unknown, path: string, header: Uint8Array, handles: readonly number[]): void
  startWriting(writing: unknown): Promise<void>
  writingLeft(writing: unknown): number
  detachWriting(writing: unknown, copy: boolean): void
  cancelWriting(writing: unknown): void
  setRequiresGrad(handle: number, on: boolean): void
  requiresGrad(handle: number): boolean
  grad(handle: number): number | null
  setGrad(handle: number, gradient: number | null): void
  backward(handle: number, gradient: number | null): void
  gradMode(on: boolean): boolean
  generator(seed: number): number
  generatorState(generator: number): number
  setGeneratorState(generator: number, state: number): void
  gpus(): {
    all: { name: string; memory: number; capability: string; bfloat16: boolean }[]
    driver: string
    cuda: number
    problem: string
    loaded: boolean
  }
  deviceMemory(
    device: string,
  ): Record<'allocated' | 'reserved' | 'peakAllocated' | 'peakReserved' | 'free' | 'total', number> | null
  resetDevicePeak(device: string): void
  emptyDeviceCache(device: string): void
  synchronize(device: string): void
  allowTf32(on: boolean): void
  deterministic(on: boolean): void
  threads(count?: number): number
  memory(): { live: number; peak: number; largest: number; cached: number }
  resetPeakMemory(): void
  emptyCachedMemory(): void
  profile(on: boolean): Record<string, { milliseconds: number; calls: number }> | undefined
  engine(): {
    version: string
    library: string
    config: string
    blasKernel: string | null
    blasConfig: string | null
    blasLibrary: string | null
  }
}

interface Boot {
  preload(library: string): string | null
  setEnvironment(name: string, value: string): void
}

/** build/engine.json, which the set-up writes: what was built and against what. */
export interface EngineBuild {
  addon: string
  boot: string
  libtorch: { source: string; version: string; lib: string; cuda: boolean }
  blas: string | null
}

const buildFile = fileURLToPath(new URL('../../build/engine.json', import.meta.url))
let loaded: Addon | undefined
/** Why libtorch's CUDA part is not in the process though the machine has a driver; null where nothing went wrong. */
export let cudaFailure: string | null = null

/** The addon; loads libtorch at the first call (about 0.3 s). */
export function addon(): Addon {
  loaded ??= load()
  return loaded
}

export function engineBuild(): EngineBuild {
  if (!existsSync(buildFile))
    throw new Error(`the native addon is not built (${buildFile} is missing): run \`npm run setup\``)
  return JSON.parse(readFileSync(buildFile, 'utf8')) as EngineBuild
}

function load(): Addon {
  const build = engineBuild()
  const require = createRequire(import.meta.url)
  const boot = require(build.boot) as Boot
  const capability = bestCapability()
  if (capability) boot.setEnvironment('ATEN_CPU_CAPABILITY', capability) // a value the user set is kept
  // A thread that waits spins at first, about 10 ms of it with libgomp's default. Alone that is fastest, a sixth of a small model's step;
  // where other programs want the processor too it starves what it waits for, and a tenth of it is 3 times as fast.
  if (process.env.OMP_WAIT_POLICY === undefined && processorIsShared()) boot.setEnvironment('GOMP_SPINCOUNT', '20000')
  if (build.blas && existsSync(build.blas)) {
    const failure = boot.preload(build.blas)
    if (failure) throw new Error(`${build.blas} cannot be loaded: ${failure}; run \`npm run setup\` again`)
  }
  if (build.libtorch.cuda) loadCuda(boot, build.libtorch.lib)
  const native = require(build.addon) as Addon
  native.threads(defaultThreads())
  return native
}

/**
 * libtorch's CUDA part, before the addon: it registers its operators when it is loaded. Only where a driver is, since it is half a gigabyte.
 * A failure is kept for when a GPU is asked for.
 */
function loadCuda(boot: Boot, folder: string): void {
  if (boot.preload('libcuda.so.1') !== null) return
  boot.setEnvironment('CUBLAS_WORKSPACE_CONFIG', ':4096:8') // what deterministic products need
  cudaFailure = boot.preload(`${folder}/libtorch_cuda.so`)
}
