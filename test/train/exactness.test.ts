import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { pack } from '../../src/data/pack.ts'
import type { Sequence } from '../../src/data/types.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { op } from '../../src/tensor/operators.ts'
import { liveTensors, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { KnownPrompts, sequenceLogps } from '../../src/train/passes.ts'
import { plainAttention } from '../model/plain.ts'
import { golden, relativeDifference } from './fixtures.ts'

// Packed, with shared prompts and fused kernels, against each row by itself, with attention and log-softmax of libtorch's own operators.

const decoder = loadDecoder(golden('kto/policy'), 'float32')
const { device } = decoder
for (const parameter of decoder.parameters.values()) parameter.withGrad()
afterAll(() => decoder.dispose())

const token = fc.integer({ min: 0, max: decoder.config.vocabularySize - 1 })
/** Some prompts, and completions that share them, in any order. */
const trees: fc.Arbitrary<Sequence[]> = fc
  .record({
    prompts: fc.uniqueArray(fc.array(token, { minLength: 1, maxLength: 40 }), {
      minLength: 1,
      maxLength: 3,
      selector: String,
    }),
    rows: fc.array(fc.tuple(fc.nat(), fc.array(token, { minLength: 1, maxLength: 40 })), {
      minLength: 1,
      maxLength: 6,
    }),
  })
  .map(({ prompts, rows }) =>
    rows.map(([choice, completion], row) => {
      const promptGroup = choice % prompts.length
      return {
        prompt: Int32Array.from(prompts[promptGroup]!),
        completion: Int32Array.from(completion),
        row,
        promptGroup,
      }
    }),
  )

/** Log-probabilities of a row's completion tokens, computed plainly. */
function plainLogps({ prompt, completion }: Sequence): Tensor {
  const ids = Int32Array.of(...prompt, ...completion)
  const length = ids.length - 1
  const tokens = Tensor.from(ids.subarray(0, length).slice(), [length], 'int64', device)
  const positions = Tensor.from(
    Int32Array.from({ length }, (_, i) => i),
    [length],
    'int64',
    device,
  )
  const weights = decoder.computeWeights('float32')
  const attention = plainAttention([{ start: 0, length, parent: -1 }])
  const states = decoder.hidden(weights, { tokens, positions, highestPosition: length - 1 }, attention)
  const logits = decoder.logits(weights, states.narrow(0, prompt.length - 1, completion.length))
  const targets = Tensor.from(completion, [completion.length, 1], 'int64', device)
  return op.gather(op.logSoftmax(logits, 1), 1, targets).sum()
}

/** The gradient of sum (1 + row) logps(row), which mixes rows unevenly, and the log-probabilities. */
function gradients(forward: () => { logps: Tensor; rows: Int32Array }): {
  logps: number[]
  gradients: Map<string, Float32Array>
} {
  return scope(() => {
    const { logps, rows } = forward()
    logps
      .mul(Tensor.from(Float32Array.from(rows, (row) => 1 + row)).on(device))
      .sum()
      .backward()
    const values = logps.detach().toArray()
    const result = new Map([...decoder.parameters].map(([name, p]) => [name, p.grad!.toArray()]))
    for (const parameter of decoder.parameters.values()) parameter.grad = null
    const byRow: number[] = []
    for (const [i, row] of rows.entries()) byRow[row] = values[i]!
    return { logps: byRow, gradients: result }
  })
}

test('gradients of packed rows are those of each row by itself', () => {
  fc.assert(
    fc.property(trees, (rows) => {
      const packed = pack(rows)
      const together = gradients(() => {
        const weights = decoder.computeWeights('float32')
        return { logps: decoder.completionLogps(weights, packed, rows.length), rows: packed.rows }
      })
      const apart = gradients(() => ({
        logps: op.stack(rows.map(plainLogps)),
        rows: Int32Array.from(rows, ({ row }) => row),
      }))
      expect(relativeDifference(together.logps, apart.logps)).toBeLessThan(1e-5)
      for (const [name, gradient] of together.gradients)
        expect(relativeDifference(gradient, apart.gradients.get(name)!), name).toBeLessThan(1e-5)
    }),
    { numRuns: 15, seed: 1 },
  )
})

test('completions that read the prompts of another pass have the log-probabilities of their own', () => {
  fc.assert(
    fc.property(trees, (rows) => {
      const before = liveTensors()
      scope(() => {
        const weights = decoder.computeWeights('float32')
        const known = new KnownPrompts()
        decoder.completionLogps(weights, known.keeping(pack(rows)), rows.length)
        const swapped = rows.map((row, i) => ({ ...row, completion: rows.at(i - 1)!.completion }))
        const read = sequenceLogps(decoder, weights, swapped, 8192, known)
        known.dispose()
        expect(relativeDifference(read, sequenceLogps(decoder, weights, swapped, 8192))).toBeLessThan(1e-5)
      })
      expect(liveTensors()).toBe(before)
    }),
    { numRuns: 15, seed: 1 },
  )
})
