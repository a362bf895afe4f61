import { join } from 'node:path'
import { expect } from 'vitest'
import { type Segment, segmentAttention } from '../../src/model/attention.ts'
import { type Decoder, type DecoderOptions, streamTensors } from '../../src/model/decoder.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'

export interface Row {
  tokens: number[]
  logits: Float32Array
}

/** The two rows of a golden folder with transformers' logits. */
export function goldenRows(folder: string): Row[] {
  const { tensors } = readSafetensors(join(folder, 'logits.safetensors'))
  const values = (name: string) => scope(() => tensors.get(name)!.load().toArray())
  return [0, 1].map((i) => ({ tokens: [...values(`row${i}`)], logits: values(`logits${i}`) }))
}

/** A packed stream; parts that have a parent go on where it ends. */
export function packedStream(parts: readonly { tokens: number[]; parent?: number }[]) {
  const segments: Segment[] = []
  const positions: number[] = []
  for (const { tokens, parent = -1 } of parts) {
    const first = parent < 0 ? 0 : segments[parent]!.length
    segments.push({ start: positions.length, length: tokens.length, parent })
    positions.push(...tokens.map((_, i) => first + i))
  }
  return {
    tokens: Int32Array.from(parts.flatMap((part) => part.tokens)),
    positions: Int32Array.from(positions),
    segments,
  }
}

/** Logits of every token of a packed stream, by part. */
export function streamLogits(
  decoder: Decoder,
  parts: readonly { tokens: number[]; parent?: number }[],
): Float32Array[] {
  const { segments, ...stream } = packedStream(parts)
  const logits = scope(() =>
    noGrad(() => {
      const weights = decoder.computeWeights('float32')
      return decoder
        .logits(weights, decoder.hidden(weights, streamTensors(stream, decoder.device), segmentAttention(segments)))
        .toArray()
    }),
  )
  const width = decoder.config.vocabularySize
  return segments.map(({ start, length }) => logits.subarray(start * width, (start + length) * width))
}

/** The largest difference, over the largest value. */
export function difference(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length)
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  return actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0) / largest
}

export async function withDecoder<R>(
  folder: string,
  options: DecoderOptions,
  work: (decoder: Decoder) => R | Promise<R>,
): Promise<R> {
  const decoder = loadDecoder(folder, 'float32', options)
  try {
    return await work(decoder)
  } finally {
    decoder.dispose()
  }
}

/** A completion as transformers sees it: the first golden row after its first tokens. */
export interface ExpectedGradient {
  prompt_length: number
  logp: number
  /** By weight, that of the gradient of `logp`. */
  gradient_norms: Record<string, number>
}

export async function expectGradient(folder: string, expected: ExpectedGradient): Promise<void> {
  const { tokens } = goldenRows(folder)[0]!
  const { prompt_length: start } = expected
  const targets = Int32Array.from(tokens.slice(start))
  const inContext = { contextTokens: tokens.length } // the last token is not in the stream, but of the row
  await withDecoder(folder, inContext, (decoder) => {
    for (const parameter of decoder.parameters.values()) parameter.withGrad()
    scope(() => {
      const logps = decoder.completionLogps(
        decoder.computeWeights('float32'),
        {
          ...packedStream([{ tokens: tokens.slice(0, -1) }]),
          targets,
          targetPositions: targets.map((_, i) => start - 1 + i),
          targetRow: targets.map(() => 0),
        },
        1,
      )
      expect(Math.abs(logps.toArray()[0]! / expected.logp - 1)).toBeLessThan(1e-5)
      logps.sum().backward()
      const norms = new Map([...decoder.parameters].map(([name, { grad }]) => [name, norm(grad!.toArray())]))
      expect([...norms.keys()].sort()).toEqual(Object.keys(expected.gradient_norms).sort())
      const largest = Math.max(...norms.values())
      for (const [name, value] of norms)
        expect(Math.abs(value - expected.gradient_norms[name]!) / largest, name).toBeLessThan(1e-4)
    })
  })
}

function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0))
}
