import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { weightsHash } from '../../src/model/weights-hash.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-hash-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const file = () => join(folder, 'model.safetensors')
const model = () => ({ path: folder, rawConfig: { model_type: 'llama' }, weightFiles: ['model.safetensors'] })
const cached = () => readdirSync(folder).includes('weights') && readdirSync(join(folder, 'weights')).length > 0

it('answers from the cache while the weights stay as they are', async () => {
  writeFileSync(file(), 'weights')
  await setTimeout(2200)
  const hash = await weightsHash(model(), folder)
  expect(hash).toBe(await weightsHash(model()))
  const [entry] = readdirSync(join(folder, 'weights'))
  writeFileSync(join(folder, 'weights', entry!), 'remembered')
  expect(await weightsHash(model(), folder)).toBe('remembered')
  expect(await weightsHash({ ...model(), rawConfig: {} }, folder)).not.toBe('remembered')

  // other bytes, of the same number, at the same time: an edit that hides itself
  const { atime, mtime } = statSync(file())
  writeFileSync(file(), 'WEIGHTS')
  utimesSync(file(), atime, mtime)
  const changed = await weightsHash(model(), folder)
  expect(changed).not.toBe('remembered')
  expect(changed).not.toBe(hash)
  expect(changed).toBe(await weightsHash(model()))
})

it('ends where the signal says so', async () => {
  writeFileSync(file(), 'weights')
  const enough = new Error('enough')
  await expect(weightsHash(model(), undefined, { signal: AbortSignal.abort(enough) })).rejects.toBe(enough)
})

it('remembers nothing of files that changed a moment ago', async () => {
  writeFileSync(file(), 'weights')
  const hash = await weightsHash(model(), folder)
  expect(cached()).toBe(false)
  expect(readFileSync(file(), 'utf8')).toBe('weights')
  expect(hash).toHaveLength(64)
})
