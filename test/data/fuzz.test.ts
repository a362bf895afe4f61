import { expect, test } from 'vitest'
import { checkFuzz } from './fuzz-check.ts'

test.each([1, 2, 3])(
  '20,000 random and mutated records of every shape: nothing lost, no label changed (seed %i)',
  async (seed) => {
    const { records, used, skipped } = await checkFuzz(seed, 20_000)
    expect(used).toBeGreaterThan(records / 2)
    expect(skipped).toBeGreaterThan(records / 10)
  },
)

const more = Number(process.env.PROSPECT_FUZZ ?? 0)
test.runIf(more > 0)(
  `PROSPECT_FUZZ: ${more} records more`,
  async () => {
    const sum = { records: 0, used: 0, leftOut: 0, skipped: 0 }
    for (let seed = 100; sum.records < more; seed++) {
      const totals = await checkFuzz(seed, 20_000)
      for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += totals[key]
    }
    console.log(JSON.stringify(sum))
  },
  3_600_000,
)
