import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { microBatches, pack } from '../../src/data/pack.ts'
import type { Sequence } from '../../src/data/types.ts'
import { Decoder } from '../../src/model/decoder.ts'
import { Tape } from '../../src/model/tape.ts'
import { op } from '../../src/tensor/operators.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { KnownPrompts, sequenceLogps } from '../../src/train/passes.ts'
import { plainAttention, withPlainKernels } from '../model/plain.ts'
import {
  modelTypes,
  randomAdapter,
  randomDecoder,
  type Shape,
  shapesOf,
  vocabularySize,
} from '../model/random-models.ts'
import { sequencesOf } from '../sequences.ts'
import { relativeDifference } from './fixtures.ts'

// In float32 packed, with shared prompts and fused kernels, against each row by itself in float64 and libtorch's own operators: every architecture.

const token = fc.integer({ min: 0, max: vocabularySize - 1 })
/** Some prompts, and completions that share them. */
const trees = sequencesOf(token, { prompts: 3, promptTokens: 24, rows: 6, completionTokens: 24 })

interface Model {
  shape: Shape
  /** What is trained. */
  kind: 'full' | 'lora' | 'dora'
  seed: number
}
const models = (modelType: string): fc.Arbitrary<Model> =>
  fc.record({
    shape: shapesOf(modelType),
    kind: fc.constantFrom('full', 'lora', 'dora'),
    seed: fc.integer({ min: 0, max: 1e6 }),
  })

/** Log-probability of a row's completion, computed plainly. */
function plainLogps(decoder: Decoder, { prompt, completion }: Sequence): Tensor {
  const ids = Int32Array.of(...prompt, ...completion)
  const length = ids.length - 1
  const int64 = (values: Int32Array) => Tensor.from(values, [values.length], 'int64', decoder.device)
  const tokens = int64(ids.slice(0, length))
  const positions = int64(Int32Array.from({ length }, (_, i) => i))
  const weights = decoder.computeWeights('float32')
  const attention = plainAttention([{ start: 0, length, parent: -1 }])
  const states = decoder.hidden(weights, { tokens, positions, highestPosition: length - 1 }, attention)
  const logits = decoder.logits(weights, states.narrow(0, prompt.length - 1, completion.length))
  return op.gather(op.logSoftmax(logits, 1), 1, int64(completion).view(-1, 1)).sum()
}

interface Outcome {
  /** By row. */
  logps: number[]
  gradients: Map<string, Float32Array>
}

/** The gradient of sum (1 + row) logps(row), which mixes rows unevenly, and the log-probabilities; in several passes. */
function outcome(
  decoder: Decoder,
  rows: number,
  passes: readonly (() => { logps: Tensor; rows: Int32Array; tape?: Tape })[],
): Outcome {
  return scope(() => {
    const logps: number[] = new Array(rows)
    for (const pass of passes) {
      const result = pass()
      const loss = result.logps.mul(Tensor.from(Float32Array.from(result.rows, (row) => 1 + row)).on(decoder.device))
      if (result.tape) result.tape.backward(loss.sum())
      else loss.sum().backward()
      for (const [i, value] of result.logps.detach().toArray().entries()) logps[result.rows[i]!] = value
    }
    const gradients = new Map([...decoder.trainable].map(([name, p]) => [name, p.grad!.toArray()]))
    for (const parameter of decoder.trainable.values()) parameter.grad = null
    return { logps, gradients }
  })
}

/** As training computes it: in micro-batches of so many tokens, with or without gradient checkpointing. */
function packedOutcome(decoder: Decoder, rows: readonly Sequence[], tokens: number, checkpointing: boolean): Outcome {
  const passes = microBatches(rows, tokens).map((micro) => () => {
    const packed = pack(micro)
    const weights = decoder.computeWeights('float32')
    const tape = checkpointing ? new Tape() : undefined
    const logps = decoder.completionLogps(weights, packed, micro.length, { tape })
    return { logps, rows: packed.rows, ...(tape && { tape }) }
  })
  return outcome(decoder, rows.length, passes)
}

function plainOutcome(exact: Decoder, rows: readonly Sequence[]): Outcome {
  const passes = rows.map((row) => () => ({
    logps: withPlainKernels(() => op.stack([plainLogps(exact, row)])),
    rows: Int32Array.of(row.row),
  }))
  return outcome(exact, rows.length, passes)
}

/**
 * Log-probabilities, and the gradient of all weights together, within 1e-5 of the exact ones; the gradient of each weight, whose rounding is that
 * of all that it goes through, within 3e-5 (of a hundredth of the whole at least: gradients that cancel out, as those of the biases of keys, are
 * nothing but rounding).
 */
function expectSame(got: Outcome, want: Outcome): void {
  expect(relativeDifference(got.logps, want.logps)).toBeLessThan(1e-5)
  const difference = new Map(
    [...want.gradients].map(([name, values]) => [name, values.map((value, i) => value - got.gradients.get(name)![i]!)]),
  )
  const whole = lengthOf(...want.gradients.values())
  expect(lengthOf(...difference.values()) / whole).toBeLessThan(1e-5)
  for (const [name, values] of want.gradients)
    expect(lengthOf(difference.get(name)!) / Math.max(lengthOf(values), whole / 100), name).toBeLessThan(3e-5)
}

/** Euclidean length of all values together. */
function lengthOf(...all: Float32Array[]): number {
  return Math.sqrt(all.reduce((sum, values) => values.reduce((sum, value) => sum + value ** 2, sum), 0))
}

/** Runs `work` with a random model, of which an adapter or all weights are trained, and with the same in float64. */
function withModel({ shape, kind, seed }: Model, work: (decoder: Decoder, exact: Decoder) => void): void {
  const base = randomDecoder(shape, seed)
  const decoder = kind === 'full' ? base : base.withAdapter(randomAdapter(base, kind, seed))
  const exactBase = new Decoder(base.config, inFloat64(base.parameters))
  const { adapter } = decoder
  const exact = adapter ? exactBase.withAdapter({ ...adapter, parameters: inFloat64(adapter.parameters) }) : exactBase
  for (const { trainable } of [decoder, exact]) for (const parameter of trainable.values()) parameter.withGrad()
  try {
    work(decoder, exact)
  } finally {
    for (const made of new Set([decoder, base, exact, exactBase])) made.dispose()
  }
}

function inFloat64(parameters: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  return new Map([...parameters].map(([name, tensor]) => [name, tensor.to('float64')]))
}

describe.each(modelTypes)('%s', (modelType) => {
  test('gradients of packed rows are those of each row by itself', () => {
    const budgets = fc.constantFrom(20, 60, 2048)
    fc.assert(
      fc.property(models(modelType), trees, budgets, fc.boolean(), (model, rows, tokens, checkpointing) => {
        withModel(model, (decoder, exact) => {
          expectSame(packedOutcome(decoder, rows, tokens, checkpointing), plainOutcome(exact, rows))
        })
      }),
      { numRuns: 25, seed: 1, endOnFailure: true },
    )
  })

  test('completions that read the prompts of another pass have the log-probabilities of their own', () => {
    fc.assert(
      fc.property(models(modelType), trees, (model, rows) => {
        withModel(model, (decoder, exact) => {
          scope(() => {
            const weights = decoder.computeWeights('float32')
            const known = new KnownPrompts()
            decoder.completionLogps(weights, known.keeping(pack(rows)), rows.length)
            const swapped = rows.map((row, i) => ({ ...row, completion: rows.at(i - 1)!.completion }))
            const read = sequenceLogps(decoder, weights, swapped, 8192, known)
            known.dispose()
            const plain = withPlainKernels(() => swapped.map((row) => plainLogps(exact, row)))
            expect(relativeDifference(read, op.stack(plain).detach().toArray())).toBeLessThan(1e-5)
          })
        })
      }),
      { numRuns: 10, seed: 1, endOnFailure: true },
    )
  })
})
