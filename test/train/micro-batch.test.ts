import fc from 'fast-check'
import { expect, test } from 'vitest'
import { largestThatFits } from '../../src/train/micro-batch.ts'
import { isOutOfMemory, namingMicroBatch, OutOfMemoryError } from '../../src/train/out-of-memory.ts'

test('the largest micro-batch is found to a sixteenth, and nothing that does not fit is given', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200_000 }), fc.integer({ min: 1, max: 200_000 }), (room, most) => {
      const found = largestThatFits((tokens) => tokens <= room, 512, most)
      if (found > 1) expect(found).toBeLessThanOrEqual(room)
      const wanted = Math.min(room, most)
      if (room >= 512) expect(found).toBeGreaterThan(wanted - Math.max(2, wanted / 8))
      else expect(2 * found + 2).toBeGreaterThan(room / 2)
    }),
  )
})

test('where memory runs out, the micro-batch is named, and what to lower', () => {
  const size = () => ({ number: 2, of: 5, rows: 7, tokens: 1900, microBatchTokens: 2048 })
  const said = 'CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.1 GiB'
  const fail = (message: string) => () =>
    namingMicroBatch('cpu', size, () => {
      throw new Error(message)
    })
  expect(fail(said)).toThrow(OutOfMemoryError)
  expect(fail(said)).toThrow(
    /micro-batch 2 of 5 \(7 rows, 1900 tokens.*2\.50 GiB more.*lower --micro-batch-tokens below 1900/,
  )
  expect(fail("DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes")).toThrow(
    /3\.00 GiB/,
  )
  expect(fail('shapes differ')).toThrow(/^shapes differ$/)
  expect(isOutOfMemory(new Error('shapes differ'))).toBe(false)
})
