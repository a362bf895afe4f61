import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type Segment, segmentAttention } from '../../src/model/attention.ts'
import { type Decoder, streamTensors } from '../../src/model/decoder.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'

// The models, rows and logits are transformers' own; test/golden/make_models.py wrote them.
const models = join(import.meta.dirname, '../golden/models')
const scratch = mkdtempSync(join(tmpdir(), 'golden-'))
afterAll(() => rmSync(scratch, { recursive: true }))

interface Row {
  tokens: number[]
  logits: Float32Array
}

function goldenRows(model: string): Row[] {
  const { tensors } = readSafetensors(join(models, model, 'logits.safetensors'))
  const values = (name: string) => scope(() => tensors.get(name)!.load().toArray())
  return [0, 1].map((i) => ({ tokens: [...values(`row${i}`)], logits: values(`logits${i}`) }))
}

/** Logits of every token of a packed stream; parts that have a parent go on where it ends. */
function streamLogits(decoder: Decoder, parts: readonly { tokens: number[]; parent?: number }[]): Float32Array[] {
  const segments: Segment[] = []
  const positions: number[] = []
  for (const { tokens, parent = -1 } of parts) {
    const first = parent < 0 ? 0 : segments[parent]!.length
    segments.push({ start: positions.length, length: tokens.length, parent })
    positions.push(...tokens.map((_, i) => first + i))
  }
  const tokens = Int32Array.from(parts.flatMap((part) => part.tokens))
  const stream = streamTensors({ tokens, positions: Int32Array.from(positions) })
  const logits = scope(() =>
    noGrad(() => {
      const weights = decoder.computeWeights('float32')
      return decoder.logits(weights, decoder.hidden(weights, stream, segmentAttention(segments))).toArray()
    }),
  )
  const width = decoder.config.vocabularySize
  return segments.map(({ start, length }) => logits.subarray(start * width, (start + length) * width))
}

/** The largest difference, over the largest value. */
function difference(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length)
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  return actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0) / largest
}

function withDecoder(folder: string, work: (decoder: Decoder) => void): void {
  const decoder = loadDecoder(folder, 'float32')
  try {
    work(decoder)
  } finally {
    decoder.dispose()
  }
}

describe.each(['llama1-sharded', 'llama2', 'llama3'])('%s', (model) => {
  it("gives transformers' logits, rows packed in one stream", () => {
    const rows = goldenRows(model)
    withDecoder(join(models, model), (decoder) => {
      const logits = streamLogits(decoder, rows)
      for (const [i, row] of rows.entries()) expect(difference(logits[i]!, row.logits)).toBeLessThan(1e-5)
    })
  })

  it('gives the same logits to completions that share their prompt as to separate rows', () => {
    const [long, short] = goldenRows(model).map((row) => row.tokens) as [number[], number[]]
    const prompt = long.slice(0, 20)
    const completions = [long.slice(20), short]
    withDecoder(join(models, model), (decoder) => {
      const separate = streamLogits(
        decoder,
        completions.map((completion) => ({ tokens: [...prompt, ...completion] })),
      )
      const shared = streamLogits(decoder, [
        { tokens: prompt },
        ...completions.map((tokens) => ({ tokens, parent: 0 })),
      ])
      const width = decoder.config.vocabularySize
      expect(difference(shared[0]!, separate[0]!.subarray(0, prompt.length * width))).toBeLessThan(1e-5)
      for (const i of [0, 1])
        expect(difference(shared[i + 1]!, separate[i]!.subarray(prompt.length * width))).toBeLessThan(1e-5)
    })
  })
})

it("reads the config in transformers 4's spelling to the same model", () => {
  for (const [from, to] of [
    ['config.old-style.json', 'config.json'],
    ['model.safetensors', 'model.safetensors'],
  ] as const)
    copyFileSync(join(models, 'llama3', from), join(scratch, to))
  const rows = goldenRows('llama3')
  withDecoder(scratch, (decoder) => {
    const logits = streamLogits(decoder, rows)
    for (const [i, row] of rows.entries()) expect(difference(logits[i]!, row.logits)).toBeLessThan(1e-5)
  })
})
