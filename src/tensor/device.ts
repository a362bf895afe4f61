import { addon, cudaFailure, engineBuild } from './addon.ts'
import { op } from './operators.ts'
import { hasBfloat16 } from './processor.ts'
import { scope } from './scope.ts'
import type { Device, Dtype, Tensor } from './tensor.ts'

export type { Device } from './tensor.ts'

/** A GPU as its driver describes it. `memory` in bytes; `capability` as `9.0`. */
export interface Gpu {
  name: string
  memory: number
  capability: string
  bfloat16: boolean
}

export interface Gpus {
  all: Gpu[]
  driver: string
  /** The newest CUDA that the driver runs, as 13000 for 13.0; 0 where it does not say. */
  cuda: number
  /** Why there are none; empty where there are some. */
  problem: string
  /** Whether libtorch's CUDA part is in the process. */
  loaded: boolean
}

export function findGpus(): Gpus {
  return addon().gpus()
}

/** The device that an option names: `auto` is the first GPU where one can be used, else the processor. Throws saying what is missing. */
export function resolveDevice(wanted: string): Device {
  if (wanted === 'cpu') return 'cpu'
  const gpus = findGpus()
  const problem = gpus.problem || (gpus.loaded ? '' : cudaProblem())
  if (wanted === 'auto') return problem === '' ? 'cuda:0' : 'cpu'
  const index = Number(/^cuda(?::(\d+))?$/.exec(wanted)?.[1] ?? 0)
  if (problem !== '') throw new Error(`device: ${wanted} is not possible: ${problem}`)
  if (index >= gpus.all.length)
    throw new Error(`device: ${wanted} is not possible: the driver shows ${gpus.all.length} GPUs, cuda:0 is the first`)
  return `cuda:${index}`
}

/** Why libtorch cannot use a GPU that the driver shows. */
export function cudaProblem(): string {
  const { libtorch } = engineBuild()
  if (libtorch.cuda)
    return `libtorch's CUDA part (${libtorch.lib}) ${cudaFailure ? `could not be loaded: ${cudaFailure}` : 'finds no GPU that it can use'}`
  return (
    `this libtorch (${libtorch.version}, ${libtorch.source}) has no CUDA: install one that has (pip install torch) ` +
    'and run `npm run setup` again'
  )
}

/** The type of matrix products: bfloat16 where the device has it, unless the option `precision` says otherwise. */
export function computeTypeOn(device: Device, precision: 'auto' | 'float32' | 'bf16'): Dtype {
  if (precision !== 'auto') return precision === 'bf16' ? 'bfloat16' : 'float32'
  const native = device === 'cpu' ? hasBfloat16() : (findGpus().all[indexOf(device)]?.bfloat16 ?? true)
  return native ? 'bfloat16' : 'float32'
}

function indexOf(device: Device): number {
  return Number(device.split(':')[1] ?? 0)
}

/** Bytes on a GPU; null for the processor, and where this libtorch does not say. */
export interface DeviceMemory {
  allocated: number
  /** With what libtorch keeps for reuse. */
  reserved: number
  peakAllocated: number
  peakReserved: number
  free: number
  total: number
}

export function deviceMemory(device: Device): DeviceMemory | null {
  return device === 'cpu' ? null : addon().deviceMemory(device)
}

export function resetDevicePeak(device: Device): void {
  if (device !== 'cpu') addon().resetDevicePeak(device)
}

/** Gives what no tensor uses back to the driver. */
export function emptyDeviceCache(device: Device): void {
  if (device !== 'cpu') addon().emptyDeviceCache(device)
}

/** Waits until the device has done what it was given: before a clock is read. */
export function synchronize(device: Device): void {
  if (device !== 'cpu') addon().synchronize(device)
}

/** How exact and repeatable a GPU's operators are. On the processor they always are. */
export function setDeviceMath(
  device: Device,
  { tf32, deterministic }: { tf32: boolean; deterministic: boolean },
): void {
  addon().allowTf32(tf32)
  addon().deterministic(deterministic && device !== 'cpu')
}

/** The elements of float32 tensors. A GPU is waited for once, not once a tensor. */
export function readTogether(tensors: readonly Tensor[]): Float32Array[] {
  if (tensors.length < 2 || tensors[0]!.device === 'cpu') return tensors.map((tensor) => tensor.toArray())
  const all = scope(() => op.cat(tensors.map((tensor) => tensor.reshape(-1))).toArray())
  let end = 0
  return tensors.map(({ size }) => {
    end += size
    return all.slice(end - size, end)
  })
}
