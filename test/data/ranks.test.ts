import { expect, test } from 'vitest'
import { makePlan, type PlannedBatch } from '../../src/data/plan.ts'
import { shareOfRank } from '../../src/data/ranks.ts'
import type { Example } from '../../src/data/types.ts'

/** Examples that note whose tokens were looked at. */
function watched(count: number, pairs: boolean, seen: Set<number>): Example[] {
  const ids = (index: number) => {
    seen.add(index)
    return Int32Array.of(index)
  }
  return Array.from({ length: count }, (_, index) => ({
    index,
    promptGroup: index >> 1,
    completionGroup: index,
    get prompt() {
      return ids(index)
    },
    get completion() {
      return ids(index)
    },
    desirable: index % 2 === 0,
    origin: { file: 'test', line: index + 1 },
    ...(pairs && { pair: index >> 1 }),
  }))
}

const options = { seed: 3, epochs: 2, batchSize: 10, mismatched: true }

/** Every step's parts put together again: what all ranks take. */
function taken(plan: { steps: number; batch(step: number): PlannedBatch }, ranks: number, pairs: boolean, from = 0) {
  return Array.from({ length: plan.steps - from }, (_, i) => {
    const parts = Array.from({ length: ranks }, (_, rank) => shareOfRank(plan.batch(from + i), rank, ranks, { pairs }))
    const sizes = parts.map(({ rows }) => rows.length)
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(pairs ? 2 : 1)
    return {
      epoch: parts[0]!.epoch,
      rows: parts.flatMap(({ rows }) => rows),
      partners: parts.flatMap(({ partners }) => partners),
      mismatches: parts.flatMap(({ mismatches }) => mismatches),
    }
  })
}

test.each([
  [1, false],
  [2, false],
  [4, false],
  [1, true],
  [2, true],
  [4, true],
])(
  '%i ranks take the plan of one process, byte for byte, from the beginning and after a resume (pairs: %s)',
  (ranks, pairs) => {
    const plan = makePlan({ examples: watched(54, pairs, new Set()), ...options, pairs })
    const whole = Array.from({ length: plan.steps }, (_, step) => plan.batch(step))
    expect(JSON.stringify(taken(plan, ranks, pairs))).toBe(JSON.stringify(whole))
    const resumed = makePlan({ examples: watched(54, pairs, new Set()), ...options, pairs })
    expect(JSON.stringify(taken(resumed, ranks, pairs, 7))).toBe(JSON.stringify(whole.slice(7)))
  },
)

test('the halves of a pair go to one rank', () => {
  const plan = makePlan({ examples: watched(54, true, new Set()), ...options, pairs: true })
  for (let step = 0; step < plan.steps; step++)
    for (const rank of [0, 1, 2, 3]) {
      const { rows } = shareOfRank(plan.batch(step), rank, 4, { pairs: true })
      expect(rows.map((row) => row >> 1).filter((pair, _, all) => all.indexOf(pair) === all.lastIndexOf(pair))).toEqual(
        [],
      )
    }
})

test('planning looks at no tokens, and a rank only at those of its rows and their partners', () => {
  const seen = new Set<number>()
  const examples = watched(54, false, seen)
  const plan = makePlan({ examples, ...options })
  const { rows, partners } = shareOfRank(plan.batch(2), 1, 4)
  expect(seen.size).toBe(0)
  for (const row of rows) expect(examples[row]!.prompt.length).toBe(1)
  for (const partner of partners) expect(examples[partner!]!.completion.length).toBe(1)
  expect(seen.size).toBeLessThanOrEqual(rows.length * 2)
})

test('a rank that is none is refused', () => {
  const plan = makePlan({ examples: watched(4, false, new Set()), ...options })
  expect(() => shareOfRank(plan.batch(0), 2, 2)).toThrow('rank 2 of 2')
})
