import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { train } from '../../src/index.ts'
import { generate } from '../../src/infer/generate.ts'
import { generateOptions } from '../../src/infer/options.ts'
import { writeTinyModel } from '../tiny-model.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-template-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('chat data with a model that has no template trains with --chat-template, and the result carries it', async () => {
  const model = writeTinyModel(join(folder, 'model'))
  const data = join(folder, 'rows.jsonl')
  const rows = Array.from({ length: 4 }, (_, i) => ({
    prompt: [{ role: 'user', content: `Question ${i}` }],
    completion: [{ role: 'assistant', content: i % 2 ? 'yes' : 'no' }],
    label: i % 2 === 0,
  }))
  writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const options = { model, data, output: join(folder, 'run'), cache: join(folder, 'cache'), maxSteps: 1, batchSize: 4 }
  await expect(train(options)).rejects.toThrow(/rows\.jsonl:1.*no chat template.*--chat-template <file>/s)

  const chatTemplate = join(folder, 'given.jinja')
  writeFileSync(chatTemplate, '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}')
  const run = await train({ ...options, chatTemplate, evaluation: { split: 0 }, samples: { prompts: 1, maxTokens: 1 } })
  for await (const _ of run);
  const result = (await run.finished).model!
  expect(readFileSync(join(result, 'chat_template.jinja'), 'utf8')).toBe(readFileSync(chatTemplate, 'utf8'))
  const sample = JSON.parse(readFileSync(join(run.directory, 'samples.jsonl'), 'utf8').split('\n')[0]!)
  expect(sample.prompt).toContain('user: Question')

  const settings = generateOptions.parse({ model: result, prompt: ['Hello'], chat: true, maxTokens: 1 })
  for await (const reply of generate(settings)) expect(reply.tokens).toBe(1)
})
