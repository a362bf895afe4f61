import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Example } from '../../src/data/types.ts'
import { hasRoom, largestMicroBatch, largestThatFits } from '../../src/train/micro-batch.ts'
import { isOutOfMemory, namingMicroBatch, OutOfMemoryError } from '../../src/train/out-of-memory.ts'
import { accumulateGradients } from '../../src/train/step.ts'
import { disposeTrainer, golden, goldenRows, trainerOf } from './fixtures.ts'

test('the largest micro-batch is found to a sixteenth, and nothing that does not fit is given', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40_000 }), fc.integer({ min: 1, max: 40_000 }), (room, most) => {
      const found = largestThatFits((tokens) => tokens <= room, most)
      expect(found).toBeLessThanOrEqual(Math.min(room, most))
      expect(found).toBeGreaterThan(Math.min(room, most) * (15 / 16) - 1)
    }),
  )
})

test('a pass has room where what it used, what others hold and what comes on top leave a tenth of the GPU', () => {
  const memory = { allocated: 40, reserved: 70, peakAllocated: 60, peakReserved: 70, free: 20, total: 100 } // others: 10
  expect(hasRoom(memory, 20)).toBe(true)
  expect(hasRoom(memory, 21)).toBe(false)
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
  expect(isOutOfMemory(new Error('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`'))).toBe(
    true,
  )
  expect(isOutOfMemory(new Error('shapes differ'))).toBe(false)
})

test('a decoder that runs out of memory above so many tokens gets micro-batches below, and no gradients are left', () => {
  const { examples } = goldenRows()
  const many = Array.from({ length: 160 }, (_, i): Example => {
    const example = examples[i % examples.length]!
    return { ...example, promptGroup: i, index: i } // no prompt is shared
  })
  const trainer = trainerOf(golden('kto/policy'), { type: 'kto', beta: 0.1 })
  const { decoder } = trainer
  const room = 700
  const pass = decoder.completionLogps.bind(decoder)
  decoder.completionLogps = (weights, stream, ...rest) => {
    if (stream.tokens.length > room) throw new Error('CUDA out of memory. Tried to allocate 2.00 GiB.')
    return pass(weights, stream, ...rest)
  }
  try {
    const said: string[] = []
    const progress = { start: () => ({ update: () => {}, stop: () => {} }), log: (line: string) => said.push(line) }
    const tokens = largestMicroBatch(trainer, many, many.length, 0, progress)
    expect(tokens).toBeGreaterThan(0.8 * room)
    expect(tokens).toBeLessThan(1.3 * room) // a row's last token is counted, and is not in the stream
    expect(said.some((line) => /do not fit/.test(line)) && said.some((line) => /tokens fit/.test(line))).toBe(true)
    expect([...decoder.trainable.values()].every(({ grad }) => grad === null)).toBe(true)
    const batch = {
      rows: many,
      referenceLogps: new Float32Array(many.length),
      mismatched: [],
      mismatchedReferenceLogps: new Float32Array(),
    }
    accumulateGradients({ ...trainer, microBatchTokens: Math.floor(0.8 * room) }, batch)
    expect(() => accumulateGradients({ ...trainer, microBatchTokens: 1e6 }, batch)).toThrow(
      /micro-batch 1 of 1 \(160 rows, .*2\.00 GiB more was asked for/,
    )
  } finally {
    disposeTrainer(trainer)
  }
})
