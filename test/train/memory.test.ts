import { afterEach, describe, expect, test } from 'vitest'
import type { Example } from '../../src/data/types.ts'
import { parseModelConfig } from '../../src/model/architectures/read.ts'
import { segmentAttention } from '../../src/model/attention.ts'
import { Decoder, streamTensors } from '../../src/model/decoder.ts'
import { initialParameters } from '../../src/model/parameters.ts'
import { Tape } from '../../src/model/tape.ts'
import { emptyCachedMemory, memoryUse, resetPeakMemory } from '../../src/tensor/engine.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import type { Dtype } from '../../src/tensor/tensor.ts'
import { type Batch, trainStep } from '../../src/train/step.ts'
import { disposeTrainer, trainerFor } from './fixtures.ts'

const kto = { type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 } as const

function decoderOf(changes: object): Decoder {
  const raw = {
    model_type: 'llama',
    vocab_size: 256,
    hidden_size: 64,
    intermediate_size: 64,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    ...changes,
  }
  const config = parseModelConfig(raw, 'test')
  return new Decoder(config, initialParameters(config, 0))
}

afterEach(emptyCachedMemory)

describe('logits', () => {
  const [rowCount, completionTokens, vocabulary] = [48, 96, 40_000]
  const ids = (length: number, seed: number) =>
    Int32Array.from({ length }, (_, i) => (seed * 7919 + i * 31) % vocabulary)
  const rows = Array.from({ length: rowCount }, (_, index): Example => {
    const [prompt, completion] = [ids(4, index), ids(completionTokens, index + rowCount)]
    const groups = { promptGroup: index, completionGroup: index }
    return { index, ...groups, prompt, completion, desirable: index % 2 === 0, origin: { file: 'test', line: index } }
  })
  const batch: Batch = {
    rows,
    referenceLogps: new Float32Array(rowCount).fill(-500),
    mismatched: rows.map(({ prompt, promptGroup }, row) => ({
      prompt,
      promptGroup,
      completion: rows[(row + 1) % rowCount]!.completion,
      row,
    })),
    mismatchedReferenceLogps: new Float32Array(rowCount).fill(-500),
  }
  /** Of one batch, all at once: far larger than any other tensor of these steps. */
  const wholeLogits = (compute: Dtype) => rowCount * completionTokens * vocabulary * (compute === 'bfloat16' ? 2 : 4)

  test.each(['float32', 'bfloat16'] as const)(
    'of all tokens never exist at once in a step of KTO: %s',
    { timeout: 30_000 },
    (compute) => {
      const trainer = { ...trainerFor(decoderOf({ vocab_size: vocabulary, hidden_size: 16 }), kto), compute }
      resetPeakMemory()
      const { notFinite } = trainStep(trainer, batch, 1)
      const { largest } = memoryUse()
      disposeTrainer(trainer)
      expect(notFinite).toBeNull()
      expect(largest).toBeGreaterThan(2 ** 24) // a chunk of them was seen
      expect(largest).toBeLessThanOrEqual(2 ** 27) // docs/memory.md
      expect(wholeLogits(compute)).toBeGreaterThan(2.5 * 2 ** 27)
    },
  )

  test('all at once would be seen', () => {
    const decoder = decoderOf({ vocab_size: vocabulary, hidden_size: 16 })
    resetPeakMemory()
    scope(() =>
      noGrad(() => {
        const tokens = Int32Array.from({ length: rowCount * completionTokens }, (_, i) => i)
        const attention = segmentAttention([{ start: 0, length: tokens.length, parent: -1 }])
        const weights = decoder.computeWeights('float32')
        decoder.logits(weights, decoder.hidden(weights, streamTensors({ tokens, positions: tokens }), attention))
      }),
    )
    expect(memoryUse().largest).toBeGreaterThanOrEqual(wholeLogits('float32'))
    decoder.dispose()
  })
})

describe('activations', () => {
  const tokens = Int32Array.from({ length: 2048 }, (_, i) => i % 256)
  const positions = tokens.map((_, i) => i % 64)
  const segments = Array.from({ length: 32 }, (_, i) => ({ start: 64 * i, length: 64, parent: -1 }))
  const stateBytes = tokens.length * 64 * 4

  /** Most bytes at once, over what was there before, in units of one block's output. */
  function peakOf(layers: number, pass: (decoder: Decoder) => void): number {
    const decoder = decoderOf({ num_hidden_layers: layers })
    for (const parameter of decoder.trainable.values()) parameter.withGrad()
    resetPeakMemory()
    const before = memoryUse().live
    scope(() => pass(decoder))
    const peak = memoryUse().peak - before
    decoder.dispose()
    return peak / stateBytes
  }

  function run(decoder: Decoder, tape?: Tape) {
    const weights = decoder.computeWeights('float32')
    return decoder.hidden(weights, streamTensors({ tokens, positions }), segmentAttention(segments), tape)
  }
  const growth = (pass: (decoder: Decoder) => void) => (peakOf(14, pass) - peakOf(4, pass)) / 10

  test('without a gradient are those of one block, however many there are', () => {
    expect(growth((decoder) => noGrad(() => run(decoder)))).toBeLessThan(0.1)
  })

  test("with gradient checkpointing grow by a block's input a block, without it by what its gradient needs", () => {
    const checkpointed = growth((decoder) => {
      const tape = new Tape()
      tape.backward(run(decoder, tape).sum())
    })
    expect(checkpointed).toBeGreaterThan(0.9)
    expect(checkpointed).toBeLessThan(1.1)
    expect(growth((decoder) => run(decoder).sum().backward())).toBeGreaterThan(5)
  })

  test('with gradient checkpointing are gone after the backward pass', () => {
    const left = peakOf(14, (decoder) => {
      const tape = new Tape()
      tape.backward(run(decoder, tape).sum())
      resetPeakMemory()
    })
    expect(left).toBeLessThan(8) // what embedding, last norm and loss made, whatever the number of blocks
  })
})

describe('weights', () => {
  const ids = (length: number, seed: number) => Int32Array.from({ length }, (_, i) => (seed * 31 + i) % 256)
  const row = (index: number): Example => ({
    index,
    ...{ promptGroup: index, completionGroup: index, prompt: ids(4, index), completion: ids(4, index + 9) },
    desirable: index % 2 === 0,
    origin: { file: 'test', line: index },
  })
  const batch: Batch = {
    rows: [row(0), row(1)],
    referenceLogps: new Float32Array(2).fill(-20),
    mismatched: [0, 1].map((i) => ({ prompt: ids(4, i), promptGroup: i, completion: ids(4, 10 - i), row: i })),
    mismatchedReferenceLogps: new Float32Array(2).fill(-20),
  }

  /** Most bytes a weight at once in a step of few tokens, over weights and moments. */
  function bytesOfStep(options: { gradientCheckpointing?: boolean; microBatchTokens?: number }): number {
    const decoder = decoderOf({ hidden_size: 512, intermediate_size: 1024, num_hidden_layers: 8 })
    const trainer = { ...trainerFor(decoder, kto), compute: 'bfloat16' as const, ...options }
    const count = [...decoder.parameters.values()].reduce((sum, { size }) => sum + size, 0)
    trainStep(trainer, batch, 1) // makes moments
    resetPeakMemory()
    const before = memoryUse().live
    trainStep(trainer, batch, 1)
    const bytes = memoryUse().peak - before
    disposeTrainer(trainer)
    return bytes / count
  }

  test.each([false, true])(
    'in bfloat16 are there before their gradients are, not beside them; gradient checkpointing: %s',
    (gradientCheckpointing) => {
      const bytes = bytesOfStep({ gradientCheckpointing })
      expect(bytes).toBeGreaterThan(3.9) // gradients
      expect(bytes).toBeLessThan(4.7)
    },
  )

  test('in bfloat16 stay for as long as passes of a step follow', () => {
    expect(bytesOfStep({ microBatchTokens: 8 })).toBeGreaterThan(5.5)
  })
})
