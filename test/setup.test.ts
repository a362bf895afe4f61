import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
// @ts-expect-error plain JavaScript
import { buildTypeScript } from '../scripts/typescript.mjs'

let root: string
const path = (...names: string[]) => join(root, ...names)

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'prospect-setup-'))
  for (const folder of ['src/deep', 'build']) mkdirSync(path(folder), { recursive: true })
  for (const file of ['tsconfig.build.json', 'tsconfig.json', 'package-lock.json']) writeFileSync(path(file), '{}')
  writeFileSync(path('src/a.ts'), 'a')
  writeFileSync(path('src/deep/b.ts'), 'b')
  writeFileSync(path('src/deep/c.d.ts'), 'c')
})
afterEach(() => rmSync(root, { recursive: true }))

const info = () => path('build/tsc.tsbuildinfo')

/** Does what tsc does with `incremental`: where its notes say that a source was compiled, its outputs are not written again. */
async function tsc(stopAfter = Number.POSITIVE_INFINITY): Promise<void> {
  const known = existsSync(info()) ? (JSON.parse(readFileSync(info(), 'utf8')) as Record<string, string>) : {}
  const files = (readdirSync(path('src'), { recursive: true }) as string[]).filter((file) => /(?<!\.d)\.ts$/.test(file))
  const texts = Object.fromEntries(files.map((file) => [file, readFileSync(path('src', file), 'utf8')]))
  mkdirSync(path('dist/deep'), { recursive: true })
  for (const [i, file] of files.entries()) {
    if (i >= stopAfter) throw new Error('killed')
    const stem = path('dist', file.slice(0, -3))
    if (known[file] !== texts[file])
      for (const end of ['.js', '.js.map', '.d.ts']) writeFileSync(`${stem}${end}`, texts[file]!)
  }
  writeFileSync(info(), JSON.stringify(texts))
}

const build = (stopAfter?: number): Promise<string> => buildTypeScript(root, () => tsc(stopAfter))
const built = () => ['dist/a.js', 'dist/deep/b.js'].map((file) => readFileSync(path(file), 'utf8'))

describe('the set-up compiles what is not as the last whole build left it', () => {
  test('nothing, where all is as it was; a source that changed', async () => {
    expect(await build()).toBe('built')
    expect(await build()).toBe('unchanged')
    writeFileSync(path('src/a.ts'), 'other')
    expect(await build()).toBe('built')
    expect(built()).toEqual(['other', 'b'])
  })

  test.each([
    ['one file is gone', () => rmSync(path('dist/deep/b.js'))],
    ['one file is cut off', () => truncateSync(path('dist/a.js'))],
    ['dist is gone', () => rmSync(path('dist'), { recursive: true })],
    ['the stamp is cut off', () => truncateSync(path('build/dist.json'), 9)],
  ])('all, where %s', async (_, damage) => {
    await build()
    damage()
    expect(await build()).toBe('built')
    expect(built()).toEqual(['a', 'b'])
    expect(await build()).toBe('unchanged')
  })

  test.each([0, 1])('all, where the build before failed or was killed after %i files', async (files) => {
    await expect(build(files)).rejects.toThrow('killed')
    expect(await build()).toBe('built')
    expect(built()).toEqual(['a', 'b'])
    writeFileSync(path('src/a.ts'), 'new')
    writeFileSync(path('src/deep/b.ts'), 'new too')
    await expect(build(files)).rejects.toThrow('killed')
    expect(await build()).toBe('built')
    expect(built()).toEqual(['new', 'new too'])
  })

  test('what a source that is gone has left goes too', async () => {
    await build()
    rmSync(path('src/deep/b.ts'))
    expect(await build()).toBe('built')
    expect(readdirSync(path('dist/deep'))).toEqual([])
    expect(await build()).toBe('unchanged')
  })
})
