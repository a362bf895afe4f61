import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { HubHooks } from '../../src/hub/download.ts'
import { localData, localModel } from '../../src/hub/inputs.ts'
import { LocalHub, sha256 } from './server.ts'

const weights = Buffer.alloc(300_000, 'weights! ')
const files = {
  'config.json': '{"model_type":"llama"}',
  'tokenizer.json': '{}',
  'model.safetensors': weights,
  'pytorch_model.bin': 'pickle',
  'consolidated.safetensors': 'a copy',
  'original/params.json': '{}',
  'README.md': '# Card',
}

let hub: LocalHub
let cache: string
let log: string[]
let commit: string

/** An address where nobody listens. */
let nowhere: string

beforeAll(async () => {
  const gone = await new LocalHub().start()
  nowhere = gone.endpoint
  await gone.stop()
})
beforeEach(async () => {
  hub = await new LocalHub().start()
  cache = mkdtempSync(join(tmpdir(), 'prospect-hub-'))
  log = []
  commit = hub.add('org/tiny', files)
})
afterEach(async () => {
  await hub.stop()
  rmSync(cache, { recursive: true, force: true })
})

const hooks = (more: Partial<HubHooks['settings'] & object> = {}): HubHooks => ({
  settings: { endpoint: hub.endpoint, cache, token: null, offline: false, ...more },
  progress: { start: () => ({ update() {}, stop() {} }), log: (line) => log.push(line) },
  retry: { tries: 3, wait: 1 },
})
const storage = (...path: string[]) => join(cache, 'models--org--tiny', ...path)
const requests = (pattern: RegExp) => hub.seen.filter(({ path }) => pattern.test(path))

describe('a model of the hub', () => {
  test('comes into the layout that Python reads: blobs by hash, links in a snapshot, the branch in refs', async () => {
    const folder = await localModel('org/tiny', hooks())
    expect(folder).toBe(storage('snapshots', commit))
    expect(readFileSync(storage('refs/main'), 'utf8')).toBe(commit)
    expect(readFileSync(join(folder, 'model.safetensors'))).toEqual(weights)
    expect(lstatSync(join(folder, 'model.safetensors')).isSymbolicLink()).toBe(true)
    expect(readlinkSync(join(folder, 'model.safetensors'))).toBe(`../../blobs/${sha256(weights)}`)
  })

  test('comes without pickles, copies and other formats, and its size is said before', async () => {
    const folder = await localModel('org/tiny', hooks())
    expect(readdirSync(folder).sort()).toEqual(['README.md', 'config.json', 'model.safetensors', 'tokenizer.json'])
    expect(log).toEqual([`org/tiny: 4 files, 0.3 MB, to ${storage()}`])
  })

  test('is not fetched again; of a branch that moved, only what changed is', async () => {
    await localModel('org/tiny', hooks())
    hub.seen.length = 0
    await localModel('org/tiny', hooks())
    expect(requests(/resolve|cdn/)).toEqual([])
    const moved = hub.add('org/tiny', { ...files, 'config.json': '{"model_type":"llama","new":true}' })
    expect(await localModel('org/tiny', hooks())).toBe(storage('snapshots', moved))
    expect(requests(/resolve|cdn/).map(({ path }) => path)).toEqual([`/org/tiny/resolve/${moved}/config.json`])
    expect(readFileSync(storage('refs/main'), 'utf8')).toBe(moved)
    expect(await localModel(`org/tiny@${commit}`, hooks())).toBe(storage('snapshots', commit))
  })

  test('goes on where the connection broke', async () => {
    let cuts = 0
    hub.fault = ({ path }) => (path.startsWith('/cdn/') && cuts++ < 3 ? { cutAfter: 70_000 } : undefined)
    const folder = await localModel('org/tiny', hooks())
    expect(readFileSync(join(folder, 'model.safetensors'))).toEqual(weights)
    const ranges = requests(/cdn/).map(({ range }) => Number(/\d+/.exec(range ?? '0')![0]))
    expect(ranges.length).toBe(4)
    expect(ranges[0]).toBe(0)
    expect(ranges.every((from, i) => i === 0 || from > ranges[i - 1]!)).toBe(true)
  })

  test('goes on where an earlier run was killed', async () => {
    mkdirSync(storage('blobs'), { recursive: true })
    writeFileSync(storage('blobs', `${sha256(weights)}.incomplete`), weights.subarray(0, 123_456))
    await localModel('org/tiny', hooks())
    expect(requests(/cdn/).map(({ range }) => range)).toEqual(['bytes=123456-'])
    expect(log[0]).toContain('0.1 MB of them here already')
    expect(readdirSync(storage('blobs')).some((name) => name.endsWith('.incomplete'))).toBe(false)
  })

  test('is fetched anew where what was there before is not its beginning', async () => {
    mkdirSync(storage('blobs'), { recursive: true })
    writeFileSync(storage('blobs', `${sha256(weights)}.incomplete`), Buffer.alloc(1000, 'x'))
    const folder = await localModel('org/tiny', hooks())
    expect(readFileSync(join(folder, 'model.safetensors'))).toEqual(weights)
  })

  test('that comes damaged, twice, is refused and leaves nothing that looks like it', async () => {
    hub.tamper = (bytes) => Buffer.concat([bytes.subarray(0, -1), Buffer.from('?')])
    await expect(localModel('org/tiny', hooks())).rejects.toThrow(/came with hash \w+, but the hub lists \w+, twice/)
    expect(existsSync(storage('refs/main'))).toBe(false)
    expect(existsSync(storage('snapshots', commit, 'model.safetensors'))).toBe(false)
  })

  test('waits where the server is busy, as long as it says', async () => {
    const before = new Set<string>()
    hub.fault = ({ path }) => {
      if (before.has(path)) return undefined
      before.add(path)
      return { status: before.size % 2 ? 429 : 503, headers: { 'retry-after': '0' } }
    }
    const folder = await localModel('org/tiny', hooks())
    expect(existsSync(join(folder, 'config.json'))).toBe(true)
    expect(log.filter((line) => line.includes('trying again in'))[0]).toContain('status 429')
  })

  test('that needs a token says so; the token is not handed on to another host', async () => {
    hub.add('org/secret', files, { token: 'hf_good' })
    await expect(localModel('org/secret', hooks())).rejects.toThrow(
      /org\/secret: .*private or gated: set HF_TOKEN.*401/,
    )
    await expect(localModel('org/secret', hooks({ token: 'hf_bad' }))).rejects.toThrow(/token does not give access/)
    hub.seen.length = 0
    await localModel('org/secret', hooks({ token: 'hf_good' }))
    expect(requests(/resolve/).every(({ authorization }) => authorization === 'Bearer hf_good')).toBe(true)
    expect(requests(/cdn/).map(({ authorization }) => authorization)).toEqual([undefined])
  })

  test.each([
    ['org/none', /org\/none: no such model or revision .*404/],
    ['org/tiny@nowhere', /org\/tiny@nowhere: no such model or revision/],
  ])('%s that is not there is named', async (name, message) => {
    await expect(localModel(name, hooks())).rejects.toThrow(message)
  })

  test('with pickles only is refused', async () => {
    hub.add('org/pickled', { 'config.json': '{}', 'pytorch_model.bin': 'x' })
    await expect(localModel('org/pickled', hooks())).rejects.toThrow(/only pickle files \(pytorch_model\.bin\)/)
    expect(requests(/resolve/)).toEqual([])
  })

  test.each([
    [{ path: '../../../escaped' }, /outside its folder/],
    [{ path: 'model.safetensors', lfs: { oid: '../../escaped' } }, /lists model\.safetensors with hash/],
    [{ path: 'model.safetensors', size: -1 }, /and size -1/],
  ])('whose listing says %j is refused', async (entry, message) => {
    hub.list = (entries) =>
      entries.map((listed) => (listed.path === 'model.safetensors' ? { ...listed, ...entry } : listed))
    await expect(localModel('org/tiny', hooks())).rejects.toThrow(message)
  })
})

describe('without the hub', () => {
  test('a model in the cache is used, by branch and by commit', async () => {
    const folder = await localModel('org/tiny', hooks())
    hub.seen.length = 0
    expect(await localModel('org/tiny', hooks({ offline: true }))).toBe(folder)
    expect(await localModel(`org/tiny@${commit}`, hooks({ offline: true }))).toBe(folder)
    expect(hub.seen).toEqual([])
  })

  test('one that is not there is an error that says why it was not fetched', async () => {
    await expect(localModel('org/tiny', hooks({ offline: true }))).rejects.toThrow(
      /not in .*, and HF_HUB_OFFLINE is set/,
    )
    const nobody = hooks({ endpoint: nowhere })
    await expect(localModel('org/tiny', nobody)).rejects.toThrow(/127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED/)
  })

  test('the cache stands in for a hub that cannot be reached, and says so', async () => {
    const folder = await localModel('org/tiny', hooks())
    expect(await localModel('org/tiny', hooks({ endpoint: nowhere }))).toBe(folder)
    expect(log.at(-1)).toContain(`cannot be reached (ECONNREFUSED`)
  })
})

describe('names', () => {
  test('of folders that exist mean the folders', async () => {
    expect(await localModel(cache, hooks())).toBe(cache)
    expect(await localModel('./no/such/folder', hooks())).toBe('./no/such/folder')
    expect(hub.seen).toEqual([])
  })

  test('of data sets give the files for training, one file, or all', async () => {
    const rows = {
      'README.md': '',
      'data/train-00000.parquet': 'a',
      'data/test-00000.parquet': 'b',
      'extra.jsonl': 'c',
    }
    const commitOf = hub.add('org/thumbs', rows, { kind: 'dataset' })
    const at = (path: string) => join(cache, 'datasets--org--thumbs/snapshots', commitOf, path)
    expect(await localData(['rows.jsonl', 'org/thumbs'], hooks())).toEqual([
      'rows.jsonl',
      at('data/train-00000.parquet'),
    ])
    expect(await localData(['org/thumbs:extra.jsonl'], hooks())).toEqual([at('extra.jsonl')])
    expect(await localData(['org/thumbs@main:data'], hooks())).toEqual([
      at('data/test-00000.parquet'),
      at('data/train-00000.parquet'),
    ])
    await expect(localData(['org/thumbs:none'], hooks())).rejects.toThrow(
      /has no \.jsonl.* files at none; it has README\.md/,
    )
    expect(await localData(['data/rows.jsonl'], hooks())).toEqual(['data/rows.jsonl'])
  })
})
