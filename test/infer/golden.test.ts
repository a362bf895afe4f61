import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { PagedCache, pageTokens } from '../../src/infer/cache.ts'
import { sample } from '../../src/infer/sample.ts'
import { type Decoder, streamTensors, type Weights } from '../../src/model/decoder.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import type { Dtype } from '../../src/tensor/tensor.ts'

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

// transformers' own distances: bench/generate/bfloat16.py --golden
const bfloat16 = JSON.parse(readFileSync(golden('generation/bfloat16.json'), 'utf8')) as Record<
  string,
  { tokens: number[][]; prompt: number; rms: number }
>

test.each(Object.keys(bfloat16))(
  'bfloat16 logits of generation are nearer to the float32 ones than those of transformers: %s',
  (name) => {
    const { tokens, prompt, rms } = bfloat16[name]!
    const [exact, rounded] = (['float32', 'bfloat16'] as const).map((dtype) => logitsOf(name, tokens, prompt, dtype))
    const differences = exact!.map((logits, i) => rootMeanSquare(logits.map((logit, j) => logit - rounded![i]![j]!)))
    const size = rootMeanSquare(exact!.flatMap((logits) => logits.map((logit) => logit - mean(logits))))
    expect(rootMeanSquare(differences) / size).toBeLessThan(rms)
  },
)

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
const rootMeanSquare = (values: readonly number[]) => Math.sqrt(mean(values.map((value) => value * value)))

/** Logits after the prompt, read in one pass, and after each token more, read one by one. */
function logitsOf(name: string, rows: readonly number[][], prompt: number, dtype: Dtype): number[][] {
  const decoder = loadDecoder(golden(`architectures/${name}`), dtype)
  const weights = noGrad(() => scope(() => decoder.computeWeights(dtype)))
  const pagesOfRow = Math.ceil(rows[0]!.length / pageTokens)
  const cache = new PagedCache(decoder.config, dtype, pagesOfRow * rows.length, decoder.device)
  try {
    const pages = rows.map(() => Array.from({ length: pagesOfRow }, () => cache.take()!))
    const pass = (from: number, to: number) => passOf(decoder, weights, cache, { rows, pages, from, to })
    return [pass(0, prompt), ...rows[0]!.slice(prompt).map((_, i) => pass(prompt + i, prompt + i + 1))].flat()
  } finally {
    cache.dispose()
    decoder.disposeWeights(weights)
    decoder.dispose()
  }
}

function passOf(
  decoder: Decoder,
  weights: Weights,
  cache: PagedCache,
  { rows, pages, from, to }: { rows: readonly number[][]; pages: number[][]; from: number; to: number },
): number[][] {
  const each = to - from
  const all = Int32Array.from({ length: each * rows.length }, (_, i) => i)
  const [row, positions] = [all.map((i) => Math.floor(i / each)), all.map((i) => from + (i % each))]
  const tokens = all.map((i) => rows[row[i]!]![positions[i]!]!)
  const lengths = all.map(() => rows[0]!.length)
  return scope(() =>
    noGrad(() => {
      const stream = { ...streamTensors({ tokens, positions }, decoder.device), rows: { positions, lengths } }
      const states = decoder.hidden(weights, stream, cache.attention({ pages, rows: row, positions }))
      return rows.map((_, i) => Array.from(decoder.logits(weights, states.narrow(0, (i + 1) * each - 1, 1)).toArray()))
    }),
  )
}
