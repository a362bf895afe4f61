import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { emptyCachedMemory, memoryUse, resetPeakMemory } from '../../src/tensor/engine.ts'
import { op } from '../../src/tensor/operators.ts'
import { outsideScopes } from '../../src/tensor/scope.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'

const mebibyte = 2 ** 20
/** Float32 elements: too many for malloc, so that the arena serves them. */
const large = fc.integer({ min: 1 << 15, max: 1 << 17 })
const filled = (size: number, value: number) => outsideScopes(() => op.full([size], value, 'float32'))
const isFilled = (tensor: Tensor, value: number) => tensor.toArray().every((element) => element === value)

describe('memory of tensors', () => {
  it('never gives the same bytes to two tensors, and counts what lives', () => {
    const change = fc.oneof(fc.record({ size: large }), fc.record({ drop: fc.nat() }), fc.constant({ empty: true }))
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
        const before = memoryUse().live
        const alive = new Map<number, Tensor>()
        for (const [i, step] of changes.entries()) {
          if ('size' in step) alive.set(i, filled(step.size, i))
          else if ('empty' in step) emptyCachedMemory()
          else if (alive.size > 0) {
            const key = [...alive.keys()][step.drop % alive.size]!
            alive.get(key)!.dispose()
            alive.delete(key)
          }
        }
        for (const [value, tensor] of alive) expect(isFilled(tensor, value)).toBe(true)
        const bytes = [...alive.values()].reduce((sum, { size }) => sum + Math.ceil((size * 4) / 4096) * 4096, 0)
        expect(memoryUse().live - before).toBe(bytes)
        for (const tensor of alive.values()) tensor.dispose()
        expect(memoryUse().live).toBe(before)
      }),
      { numRuns: 60 },
    )
  })

  it('reuses memory for tensors of other sizes: what is kept stays near what was needed', () => {
    emptyCachedMemory()
    resetPeakMemory()
    const start = process.memoryUsage.rss()
    for (let round = 0; round < 14; round++) {
      // 400 MiB at a time, in pieces whose size differs from round to round
      const pieces = 4 + (round % 7)
      const size = Math.floor((100 * mebibyte) / pieces) + round * 1000
      const tensors = Array.from({ length: pieces }, (_, i) => filled(size, i))
      for (const tensor of tensors) tensor.dispose()
    }
    const { live, peak, cached } = memoryUse()
    expect(cached + live).toBeLessThan(peak * 1.13 + 257 * mebibyte)
    expect(process.memoryUsage.rss() - start).toBeLessThan(peak * 1.13 + 300 * mebibyte)
    emptyCachedMemory()
    expect(memoryUse().cached).toBe(0)
    expect(process.memoryUsage.rss() - start).toBeLessThan(64 * mebibyte)
  })
})
