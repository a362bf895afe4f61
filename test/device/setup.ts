import { createRequire } from 'node:module'
import { expect, vi } from 'vitest'
import { addon, engineBuild } from '../../src/tensor/addon.ts'

// Runs tests that were written for the processor on another device: `npx vitest run --config vitest.device.config.ts`. Models are loaded there unless
// a test says where, and what must agree to 1e-5 on the processor must agree to 1e-4.

const device = process.env.PROSPECT_TEST_DEVICE ?? 'cuda:0'
const standIn = process.env.PROSPECT_STAND_IN // the library that test/device/stand-in.mjs compiles

if (standIn) {
  addon() // libtorch is in the process
  const boot = createRequire(import.meta.url)(engineBuild().boot) as { preload(path: string): string | null }
  const problem = boot.preload(standIn)
  if (problem) throw new Error(problem)
}

// What must be the same bits on the processor must be so on a GPU whose operators are asked for that.
if (device.startsWith('cuda')) addon().deterministic(true)
vi.mock('../../src/tensor/device.ts', async (original) => {
  const real = await original<typeof import('../../src/tensor/device.ts')>()
  const asked = () => expect.getState().testPath?.endsWith('training.device.ts') ?? false // there, what a test asks for
  return {
    ...real,
    setDeviceMath: (on: never, options: { tf32: boolean; deterministic: boolean }) =>
      real.setDeviceMath(on, asked() ? options : { ...options, deterministic: true }),
  }
})

vi.mock('../../src/model/load.ts', async (original) => {
  const real = await original<typeof import('../../src/model/load.ts')>()
  return {
    ...real,
    loadDecoder: (model: never, dtype: never, options = {}) => real.loadDecoder(model, dtype, { device, ...options }),
    loadSource: (model: never, dtype: never, options = {}) => real.loadSource(model, dtype, { device, ...options }),
    loadBase: (model: never, dtype: never, options = {}) => real.loadBase(model, dtype, { device, ...options }),
  }
})

vi.mock('../../src/model/parameters.ts', async (original) => {
  const real = await original<typeof import('../../src/model/parameters.ts')>()
  const { outsideScopes } = await import('../../src/tensor/scope.ts')
  return {
    ...real,
    initialParameters: (config: never, seed: number) => {
      const made = real.initialParameters(config, seed)
      const there = new Map([...made].map(([name, tensor]) => [name, outsideScopes(() => tensor.on(device))]))
      for (const [name, tensor] of made) if (there.get(name) !== tensor) tensor.dispose()
      return there
    },
  }
})

expect.extend({
  toBeLessThan(got: number, bound: number) {
    const allowed = bound < 1e-4 && bound > 0 ? 10 * bound : bound
    return { pass: got < allowed, message: () => `expected ${got} to be less than ${allowed} on ${device}` }
  },
})
