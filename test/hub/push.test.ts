import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { pushFolder } from '../../src/hub/push.ts'
import { LocalHub, sha256 } from './server.ts'

let hub: LocalHub
let folder: string
const weights = Buffer.alloc(50_000, 'w')

beforeEach(async () => {
  hub = await new LocalHub().start()
  folder = mkdtempSync(join(tmpdir(), 'prospect-push-'))
  writeFileSync(join(folder, 'config.json'), '{"a":1}')
  writeFileSync(join(folder, 'model.safetensors'), weights)
  mkdirSync(join(folder, 'additional_chat_templates'))
  writeFileSync(join(folder, 'additional_chat_templates/tool_use.jinja'), 'tools')
})
afterEach(async () => {
  await hub.stop()
  rmSync(folder, { recursive: true, force: true })
})

const hooks = (token: string | null = 'hf_write') => ({
  settings: { endpoint: hub.endpoint, cache: folder, token, offline: false },
  retry: { tries: 3, wait: 1 },
})
const pushed = (name: string) => {
  const { refs, commits } = hub.repositories.get(name)!
  return commits[refs.main!]!
}

test('a folder is uploaded as one commit: large files by their hash, small ones in it', async () => {
  const url = await pushFolder(folder, 'me/result', {}, hooks())
  expect(url).toBe(`${hub.endpoint}/me/result/commit/${hub.repositories.get('me/result')!.refs.main}`)
  expect(Object.keys(pushed('me/result')).sort()).toEqual([
    'additional_chat_templates/tool_use.jinja',
    'config.json',
    'model.safetensors',
  ])
  expect(pushed('me/result')['model.safetensors']).toEqual(weights)
  expect(pushed('me/result')['config.json']!.toString()).toBe('{"a":1}')
  expect([...hub.uploaded.keys()]).toEqual([sha256(weights)])
})

test('a repository that exists is added to, and a busy server waited for', async () => {
  hub.add('me/result', { 'old.txt': 'old' })
  let busy = 0
  hub.fault = ({ method }) => (method === 'POST' && busy++ === 0 ? { status: 503 } : undefined)
  await pushFolder(folder, 'me/result', {}, hooks())
  expect(pushed('me/result')['model.safetensors']).toEqual(weights)
})

test('what cannot be is said: no token, no name, no right', async () => {
  await expect(pushFolder(folder, 'me/result', {}, hooks(null))).rejects.toThrow(/no token: set HF_TOKEN/)
  await expect(pushFolder(folder, 'result', {}, hooks())).rejects.toThrow('--push result: give a name as org/name')
  hub.fault = () => ({ status: 403 })
  await expect(pushFolder(folder, 'me/result', {}, hooks())).rejects.toThrow(
    /me\/result: the token does not give access.*403/,
  )
})
