import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { hubNameOfFolder, hubTextOf, parseHubName } from '../../src/hub/names.ts'
import { hubSettings } from '../../src/hub/settings.ts'

const home = mkdtempSync(join(tmpdir(), 'prospect-hf-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

describe('settings', () => {
  test.each([
    [{}, join(homedir(), '.cache/huggingface/hub')],
    [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
    [{ XDG_CACHE_HOME: '/x', HF_HOME: '/h' }, '/h/hub'],
    [{ HF_HOME: '~/h' }, join(homedir(), 'h/hub')],
    [{ HF_HOME: '/h', HUGGINGFACE_HUB_CACHE: '/old' }, '/old'],
    [{ HF_HOME: '/h', HUGGINGFACE_HUB_CACHE: '/old', HF_HUB_CACHE: '/c' }, '/c'],
  ])('%j puts the cache where Python has it', (environment, cache) => {
    expect(hubSettings(environment).cache).toBe(cache)
  })

  test('a token comes from the environment before the file that a login wrote', () => {
    writeFileSync(join(home, 'token'), 'hf_saved\n')
    expect(hubSettings({ HF_HOME: home }).token).toBe('hf_saved')
    expect(hubSettings({ HF_HOME: home, HF_TOKEN: 'hf_given' }).token).toBe('hf_given')
    expect(hubSettings({ HF_HOME: home, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }).token).toBeNull()
    expect(hubSettings({ HF_HOME: join(home, 'none') }).token).toBeNull()
  })

  test('the endpoint has no slash at its end; offline is any true word', () => {
    expect(hubSettings({ HF_ENDPOINT: 'https://mirror.example//' }).endpoint).toBe('https://mirror.example')
    expect(hubSettings({ HF_HUB_OFFLINE: 'yes' }).offline).toBe(true)
    expect(hubSettings({ HF_HUB_OFFLINE: '0' }).offline).toBe(false)
  })
})

describe('names', () => {
  const at = (revision: string, path: string | null = null) => ({
    kind: 'model',
    repository: 'org/a.b-c',
    revision,
    path,
  })
  test.each([
    ['org/a.b-c', at('main')],
    ['hf://org/a.b-c', at('main')],
    ['org/a.b-c@v1.0', at('v1.0')],
    ['org/a.b-c@refs/pr/1', at('refs/pr/1')],
    ['org/a.b-c@main:sub/folder', at('main', 'sub/folder')],
    ['org/a.b-c:file.jsonl', at('main', 'file.jsonl')],
  ])('%s', (text, name) => {
    expect(parseHubName(text, 'model')).toEqual(name)
  })

  test.each([
    'folder',
    './org/name',
    '/org/name',
    '../org',
    'a/b/c',
    'org/name@',
    'org/name@../x',
    'org/name:../x',
    'org/a--b',
    'org/..',
  ])('%s is none', (text) => {
    expect(parseHubName(text, 'model')).toBeNull()
  })

  test("a cached snapshot's folder tells its name", () => {
    const commit = 'a'.repeat(40)
    expect(hubNameOfFolder(`/c/models--org--some-name/snapshots/${commit}`)).toEqual({
      repository: 'org/some-name',
      commit,
    })
    expect(hubNameOfFolder('/c/models--org--some-name/snapshots/main')).toBeNull()
    expect(hubNameOfFolder('runs/thumbs/model')).toBeNull()
    expect(hubTextOf(`/c/datasets--org--name/snapshots/${commit}/data/train.jsonl`)).toBe(
      `org/name@${commit}:data/train.jsonl`,
    )
    expect(hubTextOf('runs/thumbs/model')).toBe('runs/thumbs/model')
  })
})
