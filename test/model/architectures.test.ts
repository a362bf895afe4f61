import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { sample } from '../../src/infer/sample.ts'
import { parseModelConfig } from '../../src/model/config.ts'
import { openModelFolder, saveModelFolder } from '../../src/model/folder.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { scope } from '../../src/tensor/scope.ts'
import { difference, type ExpectedGradient, expectGradient, goldenRows, streamLogits, withDecoder } from './streams.ts'

// Models, logits, replies and gradients are transformers' own; test/golden/make_architectures.py wrote them.
const golden = join(import.meta.dirname, '../golden/architectures')
const names = readdirSync(golden)
const scratch = mkdtempSync(join(tmpdir(), 'architectures-'))
afterAll(() => rmSync(scratch, { recursive: true }))

interface Expected extends ExpectedGradient {
  greedy: { prompt: number[]; continuation: number[] }[]
}

const readJson = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'))

describe.each(names)('%s', (name) => {
  const folder = join(golden, name)
  const expected = readJson(folder, 'expected.json') as Expected

  it("gives transformers' logits, a row alone and rows packed in one stream", async () => {
    const rows = goldenRows(folder)
    await withDecoder(folder, {}, (decoder) => {
      for (const { tokens, logits } of rows)
        expect(difference(streamLogits(decoder, [{ tokens }])[0]!, logits)).toBeLessThan(1e-4)
      if (name === 'llama-dynamic' || name === 'phi3-longrope') return // the longest row decides for all, as in a batch of transformers
      const packed = streamLogits(decoder, rows)
      for (const [i, row] of rows.entries()) expect(difference(packed[i]!, row.logits)).toBeLessThan(1e-4)
    })
  })

  it("gives transformers' logits to a completion that shares its prompt with another", async () => {
    const [long, short] = goldenRows(folder) as [{ tokens: number[]; logits: Float32Array }, { tokens: number[] }]
    const [prompt, completion] = [long.tokens.slice(0, 20), long.tokens.slice(20)]
    await withDecoder(folder, {}, (decoder) => {
      const shared = streamLogits(decoder, [
        { tokens: prompt },
        { tokens: short.tokens, parent: 0 },
        { tokens: completion, parent: 0 },
      ])
      const border = prompt.length * decoder.config.vocabularySize
      expect(difference(shared[0]!, long.logits.subarray(0, border))).toBeLessThan(1e-4)
      expect(difference(shared[2]!, long.logits.subarray(border))).toBeLessThan(1e-4)
    })
  })

  it('continues as transformers does, through the key-value cache', async () => {
    const { greedy } = expected
    await withDecoder(folder, {}, async (decoder) => {
      const prompts = greedy.map(({ prompt }) => Int32Array.from(prompt))
      const weights = scope(() => decoder.computeWeights('float32'))
      const options = { maxTokens: 32, greedy: true, stop: [] }
      for await (const { index, tokens } of sample(decoder, weights, prompts, options))
        expect([...tokens]).toEqual(greedy[index]!.continuation)
    })
  })

  it("gives transformers' log-probability of a completion, and the gradient of each weight", async () => {
    await expectGradient(folder, expected)
  })

  it('is saved with the same names, shapes and bits, whole or in shards', async () => {
    const source = openModelFolder(folder)
    const decoder = loadDecoder(source, 'float32')
    for (const maxShardBytes of [undefined, 12_000]) {
      const copy = join(scratch, name)
      await saveModelFolder(copy, { source, parameters: decoder.parameters, dtype: source.dtype, maxShardBytes })
      expect(existsSync(join(copy, 'model.safetensors'))).toBe(maxShardBytes === undefined)
      expect(contents(copy)).toEqual(contents(folder))
      expect(readJson(copy, 'config.json')).toEqual(readJson(folder, 'config.json'))
    }
    decoder.dispose()
  })

  it("is the same model in transformers 4's spelling of config.json", () => {
    const parse = (file: string) => parseModelConfig(readJson(folder, file), file)
    expect(parse('config.old-style.json')).toEqual(parse('config.json'))
  })
})

function contents(folder: string): Map<string, unknown> {
  const { tensors } = openModelFolder(folder)
  const sorted = [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))
  return new Map(
    sorted.map(([name, entry]) => [
      name,
      scope(() => ({ dtype: entry.dtype, shape: entry.shape, bytes: entry.load().toBytes() })),
    ]),
  )
}
