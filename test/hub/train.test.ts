import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { generate, generateOptions, train } from '../../src/index.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { LocalHub } from './server.ts'

let hub: LocalHub
let root: string
const before = { ...process.env }

beforeAll(async () => {
  hub = await new LocalHub().start()
  root = mkdtempSync(join(tmpdir(), 'prospect-hub-train-'))
  Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HOME: join(root, 'home') })
  for (const name of ['HF_TOKEN', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE']) delete process.env[name]
  const folder = writeTinyModel(join(root, 'model'))
  hub.add('org/tiny', Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))])))
  const rows = Array.from({ length: 8 }, (_, i) => ({
    prompt: `Say ${i}: `,
    completion: `${i % 2}`,
    label: i % 2 === 0,
  }))
  hub.add('org/thumbs', { 'train.jsonl': rows.map((row) => `${JSON.stringify(row)}\n`).join('') }, { kind: 'dataset' })
})
afterAll(async () => {
  process.env = before
  await hub.stop()
  rmSync(root, { recursive: true, force: true })
})

test('a run on names of the hub fetches them once, keeps the commits, and names the base model in its card', async () => {
  const output = join(root, 'run')
  const options = {
    model: 'org/tiny',
    data: 'org/thumbs',
    output,
    maxSteps: 2,
    batchSize: 4,
    cache: join(root, 'cache'),
  }
  const run = await train({ ...options, samples: { prompts: 1, maxTokens: 2 }, evaluation: { split: 0.25 } })
  for await (const _ of run);
  const { model } = await run.finished
  const commit = hub.repositories.get('org/tiny')!.refs.main!
  expect(readFileSync(join(output, 'config.yaml'), 'utf8')).toContain(`models--org--tiny/snapshots/${commit}`)
  const card = readFileSync(join(model!, 'README.md'), 'utf8')
  expect(card).toContain('base_model: "org/tiny"\n')
  expect(card).toContain(`Made by Prospect from \`org/tiny@${commit}\` with 6 rows`)
  expect(card).toMatch(/\*\*Prompt\*\*\n\n> {5}.*Say \d: \n\nBefore:\n\n> .*\n\nAfter:\n\n> /)
  expect(card).not.toContain('snapshots')
  expect(card).not.toMatch(/^license:/m)

  const requests = hub.seen.length
  process.env.HF_HUB_OFFLINE = '1'
  for await (const reply of generate(generateOptions.parse({ model: 'org/tiny', prompt: ['Say'], maxTokens: 1 })))
    expect(reply.tokens).toBe(1)
  expect(hub.seen.length).toBe(requests)
})
