import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { sample } from '../../src/infer/sample.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'

// transformers' own replies: test/golden/make_generation.py
const golden = (path: string) => fileURLToPath(new URL(`../golden/${path}`, import.meta.url))
const expected = JSON.parse(readFileSync(golden('generation/greedy.json'), 'utf8')) as Record<
  string,
  { prompt: number[]; continuation: number[] }[]
>

test.each(Object.keys(expected))(
  'greedy replies are those of transformers over 64 tokens, alone and 17 at once: %s',
  async (name) => {
    const decoder = loadDecoder(golden(name), 'float32')
    const weights = noGrad(() => scope(() => decoder.computeWeights('float32')))
    const rows = expected[name]!
    try {
      for (const batch of [1, 17]) {
        const replies: number[][] = []
        const prompts = rows.map(({ prompt }) => Int32Array.from(prompt))
        for await (const { index, tokens } of sample(decoder, weights, prompts, {
          maxTokens: 64,
          stop: [],
          greedy: true,
          batch,
        }))
          replies[index] = Array.from(tokens)
        expect(replies).toEqual(rows.map(({ continuation }) => continuation))
      }
    } finally {
      decoder.dispose()
    }
  },
)
