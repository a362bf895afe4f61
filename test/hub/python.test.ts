import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { localModel } from '../../src/hub/inputs.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { LocalHub } from './server.ts'

const python = process.env.PROSPECT_PYTHON
if (!python) console.log('test/hub/python.test.ts is left out: PROSPECT_PYTHON=<a python with transformers> runs it')

/** Runs Python while this process goes on serving. */
async function run(code: string, environment: Record<string, string>): Promise<string> {
  const { execFile } = await import('node:child_process')
  return await new Promise((resolve, reject) =>
    execFile(python!, ['-c', code], { env: { ...process.env, ...environment } }, (error, out) =>
      error ? reject(error) : resolve(out.trim()),
    ),
  )
}

test.runIf(python)(
  'Python reads offline what was fetched here, and here what Python fetched is read offline',
  async () => {
    const hub = await new LocalHub().start()
    const root = mkdtempSync(join(tmpdir(), 'prospect-hub-python-'))
    try {
      const folder = writeTinyModel(join(root, 'model'))
      const files = Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]))
      const commit = hub.add('org/tiny', files)
      const settings = { endpoint: hub.endpoint, token: null, offline: false }
      const ours = await localModel('org/tiny', { settings: { ...settings, cache: join(root, 'ours') } })

      const offline = { HF_HUB_CACHE: join(root, 'ours'), HF_HUB_OFFLINE: '1' }
      const read =
        'from huggingface_hub import snapshot_download; from transformers import AutoModelForCausalLM as M; ' +
        'import sys; M.from_pretrained("org/tiny"); print(snapshot_download("org/tiny"))'
      expect(
        execFileSync(python!, ['-c', read], { env: { ...process.env, ...offline }, encoding: 'utf8' }).trim(),
      ).toBe(ours)

      const online = { HF_HUB_CACHE: join(root, 'theirs'), HF_ENDPOINT: hub.endpoint, HF_HUB_DISABLE_XET: '1' }
      const fetch = 'from huggingface_hub import snapshot_download; print(snapshot_download("org/tiny"))'
      const theirs = await run(fetch, online)
      expect(theirs).toBe(join(root, 'theirs/models--org--tiny/snapshots', commit))
      const requests = hub.seen.length
      const cached = { settings: { ...settings, cache: join(root, 'theirs'), offline: true } }
      expect(await localModel('org/tiny', cached)).toBe(theirs)
      const blobs = (cache: string) => readdirSync(join(root, cache, 'models--org--tiny/blobs')).sort()
      expect(blobs('ours')).toEqual(blobs('theirs'))
      expect(hub.seen.length).toBe(requests)
    } finally {
      await hub.stop()
      rmSync(root, { recursive: true, force: true })
    }
  },
)
