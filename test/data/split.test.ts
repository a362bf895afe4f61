import fc from 'fast-check'
import { expect, test } from 'vitest'
import { heldOutRows, sampledRows } from '../../src/data/split.ts'

const options = { share: 0.3, seed: 1, by: 'random', stratify: true } as const

test('no prompt, pair or column value is on both sides, whatever the data', () => {
  const row = fc.record({
    prompt: fc.nat(12),
    pair: fc.oneof(fc.constant(-1), fc.integer({ min: -1, max: 6 })),
    label: fc.nat(1),
    time: fc.nat(100),
  })
  fc.assert(
    fc.property(
      fc.array(row, { maxLength: 60 }),
      fc.double({ min: 0, max: 0.9, noNaN: true }),
      fc.boolean(),
      fc.boolean(),
      (rows, share, byTime, stratify) => {
        const of = (key: 'prompt' | 'pair' | 'label' | 'time') => rows.map((one) => one[key])
        const held = heldOutRows(
          { together: [of('prompt'), of('pair')], label: of('label'), time: of('time') },
          { share, seed: 3, by: byTime ? 'time' : 'random', stratify },
        )
        for (const key of ['prompt', 'pair'] as const) {
          const sides = new Map<number, number>()
          for (const [i, one] of rows.entries()) {
            if (one[key] < 0) continue
            if (sides.has(one[key])) expect(held[i]).toBe(sides.get(one[key]))
            sides.set(one[key], held[i]!)
          }
        }
        // Whole prompts, joined where a pair spans two, and something is left to train on.
        if (!byTime && rows.every(({ pair }) => pair < 0)) {
          const prompts = new Set(of('prompt')).size
          const heldPrompts = new Set(of('prompt').filter((_, i) => held[i] === 1)).size
          expect(heldPrompts).toBe(
            share === 0 || prompts < 2 ? 0 : Math.min(prompts - 1, Math.max(1, Math.round(share * prompts))),
          )
        }
        if (share === 0) expect(held.every((side) => side === 0)).toBe(true)
      },
    ),
  )
})

test('each stratum gives its share', () => {
  const label = Array.from({ length: 1000 }, (_, i) => Number(i < 100)) // a tenth is thumbs up
  const held = heldOutRows({ together: [label.map((_, i) => i)], label }, { ...options, share: 0.1 })
  expect(held.reduce((sum, side) => sum + side, 0)).toBe(100)
  expect(held.subarray(0, 100).reduce((sum, side) => sum + side, 0)).toBe(10)
})

test('by time the newest are held out', () => {
  const time = [5, 1, 9, 3, 8, 2]
  const held = heldOutRows(
    { together: [[0, 1, 2, 3, 4, 1]], label: time.map(() => 1), time },
    { ...options, by: 'time', share: 0.4 },
  )
  expect(Array.from(held)).toEqual([0, 0, 1, 0, 1, 0])
})

test('a sample has as many rows as asked for, both labels in their shares, and whole pairs', () => {
  const label = Array.from({ length: 1000 }, (_, i) => Number(i < 100 || (i >= 600 && i % 2 === 0)))
  const pair = label.map((_, i) => (i < 600 ? -1 : i >> 1)) // 100 up, 500 down, 200 pairs
  const sampled = sampledRows({ together: [pair], label }, 100, 7)
  const count = (from: number, to: number) => sampled.subarray(from, to).reduce((sum, side) => sum + side, 0)
  expect([count(0, 100), count(100, 600), count(600, 1000)]).toEqual([10, 50, 40])
  for (let row = 600; row < 1000; row += 2) expect(sampled[row]).toBe(sampled[row + 1])
  expect(sampledRows({ together: [pair], label }, 100, 7)).toEqual(sampled)
  expect(sampledRows({ together: [pair], label }, 100, 8)).not.toEqual(sampled)
})

test('a sample never has more rows than asked for, and all where there are no more', () => {
  const row = fc.record({ pair: fc.integer({ min: -1, max: 6 }), label: fc.nat(1) })
  fc.assert(
    fc.property(fc.array(row, { maxLength: 60 }), fc.nat(70), (rows, count) => {
      const columns = { together: [rows.map(({ pair }) => pair)], label: rows.map(({ label }) => label) }
      const size = sampledRows(columns, count, 3).reduce((sum, side) => sum + side, 0)
      expect(size).toBeLessThanOrEqual(count)
      if (count >= rows.length) expect(size).toBe(rows.length)
    }),
  )
})
