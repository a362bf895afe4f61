import { describe, expect, it } from 'vitest'
import { Random } from '../../src/data/random.ts'

describe('Random', () => {
  it('is a function of all its keys', () => {
    const draws = [
      ['plan', 1, 2],
      ['plan', 2, 1],
      ['plan', 12],
      ['split', 1, 2],
    ].map((keys) => new Random(...keys).share())
    expect(new Set(draws).size).toBe(draws.length)
    expect(new Random('plan', 1, 2).share()).toBe(draws[0])
  })

  it('gives all orders equally often', () => {
    const counts = new Map<string, number>()
    for (let seed = 0; seed < 6000; seed++) {
      const order = new Random(seed).permutation(3).join()
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    // Six orders, a thousand times each; five standard deviations are 144.
    expect(counts.size).toBe(6)
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(144)
  })
})
