import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 240_000,
    env: { OMP_WAIT_POLICY: 'passive' }, // threads that spin stall each other where other work runs beside the tests
    reporters: ['default'],
  },
})
