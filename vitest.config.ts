import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 240_000,
    hookTimeout: 240_000,
    env: {
      CUDA_VISIBLE_DEVICES: '', // `--device auto` is the processor here; vitest.device.config.ts tests a GPU
      OMP_WAIT_POLICY: 'passive', // threads that spin stall each other where other work runs beside the tests
      NO_COLOR: '1', // what is printed is compared as plain text; a CI's environment would colour it
    },
    reporters: ['default'],
  },
})
