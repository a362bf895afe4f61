import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { sample } from '../../src/infer/sample.ts'
import { parseModelConfig } from '../../src/model/config.ts'
import { lengthRegimes, ropeAmplitude, ropeFrequencies } from '../../src/model/frequencies.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { scope } from '../../src/tensor/scope.ts'
import { streamLogits } from './streams.ts'

interface Case {
  name: string
  config: object
  tokens: number
  amplitude: number
  frequencies: number[]
}

// transformers' own; test/golden/make_rope.py wrote them.
const golden = join(import.meta.dirname, '../golden')
const cases = JSON.parse(readFileSync(join(golden, 'rope.json'), 'utf8')) as Case[]

it.each(cases)("turns by transformers' frequencies: $name", ({ config, tokens, amplitude, frequencies }) => {
  const rope = parseModelConfig(config, 'config.json').ropes[0]!
  const actual = ropeFrequencies(rope, tokens)
  expect(actual.length).toBe(frequencies.length)
  for (const [i, frequency] of frequencies.entries()) expect(Math.abs(actual[i]! / frequency - 1)).toBeLessThan(1e-6)
  expect(ropeAmplitude(rope)).toBeCloseTo(amplitude, 12)
})

describe('a model whose frequencies depend on the length of a row', () => {
  const folder = join(golden, 'architectures/phi3-longrope') // trained for 42 tokens
  const [short, long] = [9, 17].map((length) => Int32Array.from({ length }, (_, i) => 3 + ((i * 7) % 40)))
  const maxTokens = 32 // the short prompt's row may have 41 tokens, the long one's 49

  async function replies(prompts: readonly Int32Array[]): Promise<number[][]> {
    const decoder = loadDecoder(folder, 'float32')
    const result: number[][] = []
    const weights = scope(() => decoder.computeWeights('float32'))
    for await (const { index, tokens } of sample(decoder, weights, prompts, { maxTokens, greedy: true, stop: [] }))
      result[index] = [...tokens]
    decoder.dispose()
    return result
  }

  /** The likeliest continuation, each token by a pass over the whole row so far, with the frequencies for rows of `contextTokens`. */
  function withoutCache(prompt: Int32Array, contextTokens: number): number[] {
    const decoder = loadDecoder(folder, 'float32', { contextTokens })
    const tokens = [...prompt]
    for (let i = 0; i < maxTokens; i++) {
      const last = streamLogits(decoder, [{ tokens }])[0]!.slice(-decoder.config.vocabularySize)
      tokens.push(last.indexOf(Math.max(...last)))
    }
    decoder.dispose()
    return tokens.slice(prompt.length)
  }

  it('answers each prompt by the length that its own row may reach', async () => {
    const expected = [withoutCache(short!, 42), withoutCache(long!, 49)]
    expect(expected[1]).not.toEqual(withoutCache(long!, 42)) // the length matters
    expect(await replies([short!, long!])).toEqual(expected)
    expect(await replies([short!])).toEqual([expected[0]])
  })

  it('is told apart from itself with rows of another regime, in what is cached', () => {
    const config = loadDecoder(folder, 'float32')
    const regimes = [10, 42, 43, 100].map((tokens) => lengthRegimes(config.config, tokens))
    config.dispose()
    expect(regimes[0]).toBe(regimes[1])
    expect(regimes[2]).toBe(regimes[3])
    expect(regimes[1]).not.toBe(regimes[2])
  })
})
