import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openModelFolder } from '../../src/model/folder.ts'

const golden = join(import.meta.dirname, '../golden/architectures')
const indexName = 'model.safetensors.index.json'
let scratch: string
let model: string

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'prospect-hostile-'))
  model = join(scratch, 'model')
  cpSync(join(golden, 'mistral'), model, { recursive: true })
})
afterEach(() => rmSync(scratch, { recursive: true, force: true }))

const readIndex = () =>
  JSON.parse(readFileSync(join(model, indexName), 'utf8')) as { weight_map: Record<string, string> }
const firstShard = 'model-00001-of-00003.safetensors'

/** Puts another file in the place of the first shard's name in the index. */
function pointIndexTo(shard: string): void {
  const index = readIndex()
  for (const [name, file] of Object.entries(index.weight_map)) if (file === firstShard) index.weight_map[name] = shard
  writeFileSync(join(model, indexName), JSON.stringify(index))
}

describe('an index is refused that names', () => {
  it.each([
    '../outside.safetensors',
    '/etc/passwd',
    'sub/model.safetensors',
    '..',
    '.',
    '',
    'model.safetensors.index.json',
    'a\0.safetensors',
    '..\\outside.safetensors',
  ])('%j as a shard', (shard) => {
    copyFileSync(join(model, firstShard), join(scratch, 'outside.safetensors'))
    pointIndexTo(shard)
    expect(() => openModelFolder(model)).toThrow(
      `${join(model, indexName)}: weight_map names ${JSON.stringify(shard)}, which is no name of a safetensors file in this folder`,
    )
  })

  it('a shard that is a folder', () => {
    mkdirSync(join(model, 'x.safetensors'))
    pointIndexTo('x.safetensors')
    expect(() => openModelFolder(model)).toThrow(`${join(model, 'x.safetensors')}: not a file`)
  })

  it('a shard that is a pipe, without waiting for it', () => {
    execFileSync('mkfifo', [join(model, 'x.safetensors')])
    pointIndexTo('x.safetensors')
    expect(() => openModelFolder(model)).toThrow(`${join(model, 'x.safetensors')}: not a file`)
  })
})

describe('links', () => {
  const replaceByLink = (name: string, target: string) => {
    rmSync(join(model, name), { force: true })
    symlinkSync(target, join(model, name))
  }

  it.each(['config.json', firstShard, indexName, 'tokenizer.json', 'LICENSE'])(
    'out of the folder are refused: %s',
    (name) => {
      const secret = join(scratch, 'secret')
      cpSync(join(golden, 'mistral', name === 'tokenizer.json' || name === 'LICENSE' ? 'config.json' : name), secret)
      replaceByLink(name, '../secret')
      expect(() => openModelFolder(model)).toThrow(
        `${join(model, name)}: a link that leads out of the folder, to ${secret}: put the file itself in its place`,
      )
    },
  )

  it('within the folder are followed', () => {
    cpSync(join(model, firstShard), join(model, 'weights'))
    replaceByLink(firstShard, 'weights')
    expect(openModelFolder(model).tensors.size).toBeGreaterThan(0)
  })

  it("to the blobs of the hub's cache are followed, to those of another model they are not", () => {
    const snapshot = join(scratch, 'models--org--name/snapshots/0123')
    mkdirSync(join(scratch, 'models--org--name/blobs'), { recursive: true })
    mkdirSync(join(scratch, 'models--org--other/blobs'), { recursive: true })
    cpSync(model, snapshot, { recursive: true })
    const link = (blob: string) => {
      rmSync(join(snapshot, firstShard))
      cpSync(join(model, firstShard), join(snapshot, blob))
      symlinkSync(blob, join(snapshot, firstShard))
    }
    link('../../blobs/abcd')
    expect(openModelFolder(snapshot).tensors.size).toBeGreaterThan(0)
    link('../../../models--org--other/blobs/abcd')
    expect(() => openModelFolder(snapshot)).toThrow('a link that leads out of the folder')
  })

  it('that lead in a circle are refused', () => {
    replaceByLink(firstShard, 'second.safetensors')
    symlinkSync(firstShard, join(model, 'second.safetensors'))
    pointIndexTo(firstShard)
    expect(() => openModelFolder(model)).toThrow(`${firstShard}`)
  })

  it('to the folder itself are followed', () => {
    symlinkSync('model', join(scratch, 'link'))
    expect(openModelFolder(join(scratch, 'link')).tensors.size).toBeGreaterThan(0)
  })
})

it('an index changed at random is refused with its name, or gives the same tensors from files of the folder', () => {
  const valid = readFileSync(join(model, indexName), 'utf8')
  const names = Object.keys(readIndex().weight_map)
  fc.assert(
    fc.property(fc.nat(valid.length), fc.nat(40), fc.string({ maxLength: 20, unit: 'binary' }), (at, length, text) => {
      writeFileSync(join(model, indexName), valid.slice(0, at) + text + valid.slice(at + length))
      let opened: ReturnType<typeof openModelFolder>
      try {
        opened = openModelFolder(model)
      } catch (error) {
        expect((error as Error).message).toContain(model)
        return
      }
      for (const name of opened.tensors.keys()) expect(names).toContain(name)
    }),
    { numRuns: 400 },
  )
})

it('a config.json changed at random is refused with its name, or read', () => {
  const valid = readFileSync(join(model, 'config.json'), 'utf8')
  const values = fc.oneof(fc.jsonValue(), fc.constantFrom<unknown>(1e308, -1, 0, 2 ** 53, 1e-300, '', 'NaN'))
  const fields = Object.keys(JSON.parse(valid))
  fc.assert(
    fc.property(fc.constantFrom(...fields), values, (field, value) => {
      writeFileSync(join(model, 'config.json'), JSON.stringify({ ...JSON.parse(valid), [field]: value }))
      try {
        openModelFolder(model)
      } catch (error) {
        expect((error as Error).message).toContain(join(model, 'config.json'))
      }
    }),
    { numRuns: 500 },
  )
})
