import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { writeTinyModel } from '../tiny-model.ts'

test('--resume keeps the replies that are there and adds the others, as if never interrupted', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'prospect-generate-'))
  const model = writeTinyModel(join(folder, 'model'))
  const prompts = join(folder, 'prompts.jsonl')
  writeFileSync(prompts, Array.from({ length: 9 }, (_, i) => `${JSON.stringify({ prompt: `p${i}` })}\n`).join(''))
  const output = join(folder, 'replies.jsonl')
  const command = [
    'generate',
    '--model',
    model,
    '--prompts',
    prompts,
    '--output',
    output,
    '--max-tokens',
    '8',
    '--resume',
  ]
  expect(await main(command)).toBe(0)
  const whole = readFileSync(output, 'utf8')
  expect(whole.trim().split('\n').length).toBe(9)
  writeFileSync(output, whole.slice(0, whole.split('\n').slice(0, 4).join('\n').length + 20)) // killed in the fifth line
  expect(await main(command)).toBe(0)
  expect(readFileSync(output, 'utf8')).toBe(whole)
  expect(await main(command)).toBe(0)
  expect(readFileSync(output, 'utf8')).toBe(whole)
})

test('the file of the prompts is no output', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'prospect-generate-'))
  const prompts = join(folder, 'prompts.jsonl')
  const row = `${JSON.stringify({ prompt: 'p', completion: 'c', label: true })}\n`
  writeFileSync(prompts, row)
  const model = writeTinyModel(join(folder, 'model'))
  expect(
    await main(['generate', '--model', model, '--prompts', prompts, '--output', prompts, '--max-tokens', '4']),
  ).toBe(1)
  expect(readFileSync(prompts, 'utf8')).toBe(row)
})
