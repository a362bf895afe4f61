import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { difference, expectGradient, goldenRows, streamLogits, withDecoder } from './streams.ts'

// The models, rows, logits and gradients are transformers' own; test/golden/make_models.py wrote them.
const models = join(import.meta.dirname, '../golden/models')
const scratch = mkdtempSync(join(tmpdir(), 'golden-'))
afterAll(() => rmSync(scratch, { recursive: true }))

describe.each(['llama1-sharded', 'llama2', 'llama3'])('%s', (model) => {
  it("gives transformers' logits, rows packed in one stream", async () => {
    const rows = goldenRows(join(models, model))
    await withDecoder(join(models, model), {}, (decoder) => {
      const logits = streamLogits(decoder, rows)
      for (const [i, row] of rows.entries()) expect(difference(logits[i]!, row.logits)).toBeLessThan(1e-5)
    })
  })

  it("gives transformers' log-probability of a completion, and the gradient of each weight", async () => {
    await expectGradient(join(models, model), JSON.parse(readFileSync(join(models, model, 'gradient.json'), 'utf8')))
  })

  it('gives the same logits to completions that share their prompt as to separate rows', async () => {
    const [long, short] = goldenRows(join(models, model)).map((row) => row.tokens) as [number[], number[]]
    const prompt = long.slice(0, 20)
    const completions = [long.slice(20), short]
    await withDecoder(join(models, model), {}, (decoder) => {
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

it("reads the config in transformers 4's spelling to the same model", async () => {
  for (const [from, to] of [
    ['config.old-style.json', 'config.json'],
    ['model.safetensors', 'model.safetensors'],
  ] as const)
    copyFileSync(join(models, 'llama3', from), join(scratch, to))
  const rows = goldenRows(join(models, 'llama3'))
  await withDecoder(scratch, {}, (decoder) => {
    const logits = streamLogits(decoder, rows)
    for (const [i, row] of rows.entries()) expect(difference(logits[i]!, row.logits)).toBeLessThan(1e-5)
  })
})
