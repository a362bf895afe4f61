import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'

const cpuinfo = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : ''
const flags = new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(cpuinfo)?.[1]?.split(' ') ?? [])

/** The value of ATEN_CPU_CAPABILITY that is fastest here, where libtorch would not choose it by itself: 1.13 stops at AVX2. */
export function bestCapability(): string | null {
  return ['avx512f', 'avx512bw', 'avx512dq', 'avx512vl'].every((flag) => flags.has(flag)) ? 'avx512' : null
}

/** Whether the processor multiplies bfloat16 matrices natively. */
export function hasBfloat16(): boolean {
  return ['avx512_bf16', 'amx_bf16', 'bf16'].some((flag) => flags.has(flag))
}

/** One thread a physical core that this process may use; OMP_NUM_THREADS wins. */
export function defaultThreads(): number {
  const wanted = Number(process.env.OMP_NUM_THREADS)
  if (Number.isInteger(wanted) && wanted > 0) return wanted
  return Math.max(1, Math.min(physicalCores(), availableParallelism(), cgroupCores()))
}

/** Whether other programs run now on cores that operators would use; only Linux says. Takes 6 ms: this program's own threads come and go. */
export function processorIsShared(): boolean {
  if (!existsSync('/proc/loadavg')) return false
  const running = Math.min(...Array.from({ length: 3 }, runningThreads)) // this one among them
  return running - 1 + defaultThreads() > cpus().length
}

function runningThreads(): number {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2) // milliseconds
  return Number(/ (\d+)\/\d+ /.exec(readFileSync('/proc/loadavg', 'utf8'))?.[1] ?? 1)
}

function physicalCores(): number {
  const cores = new Set<string>()
  for (const block of cpuinfo.split('\n\n')) {
    const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(\\d+)`, 'm').exec(block)?.[1]
    if (field('core id') !== undefined) cores.add(`${field('physical id')}:${field('core id')}`)
  }
  return cores.size || availableParallelism()
}

/** A container's share of processor time, in cores, rounded up. */
function cgroupCores(): number {
  const file = '/sys/fs/cgroup/cpu.max'
  if (!existsSync(file)) return Number.POSITIVE_INFINITY
  const [quota, period] = readFileSync(file, 'utf8').trim().split(' ').map(Number)
  return quota && period ? Math.ceil(quota / period) : Number.POSITIVE_INFINITY
}

/** The processor's name. */
export function processorName(): string {
  return /^model name\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? process.arch
}

/** A sentence where OPENBLAS_CORETYPE, which the user or the image set, holds OpenBLAS to a kernel below the processor's; else null. */
export function blasKernelWarning(kernel: string | null): string | null {
  const forced = process.env.OPENBLAS_CORETYPE
  if (!forced || !kernel || !bestCapability() || !/haswell|zen|sandybridge|nehalem|prescott/i.test(kernel)) return null
  return `OPENBLAS_CORETYPE=${forced} holds OpenBLAS to its ${kernel} kernel, about half the float32 speed of this processor's AVX-512: unset it`
}
