import { defineConfig } from 'vitest/config'

// Tests of the processor's suite, on a GPU: see test/device/setup.ts.
export default defineConfig({
  test: {
    include: [
      'test/device/*.device.ts',
      'test/train/{golden,invariance,adapter-gradients,exactness,objectives,optimizer,leak}.test.ts',
      'test/model/{golden,architectures,frequencies}.test.ts',
      'test/model/adapters/peft.test.ts',
      'test/infer/{golden,sample}.test.ts',
    ],
    setupFiles: ['test/device/setup.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 240_000,
    hookTimeout: 240_000,
    env: { NO_COLOR: '1' },
  },
})
