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
