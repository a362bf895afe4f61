import { spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { replaceDirectory, sweepTemporaries, writeFileAtomic } from '../../src/tensor/atomic.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-atomic-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const fillWith = (text: string) => (directory: string) => writeFileSync(join(directory, 'file'), text)
const failHalfway = (directory: string) => {
  writeFileSync(join(directory, 'file'), 'half')
  throw new Error('disk full')
}

describe('writeFileAtomic', () => {
  it('replaces a file', () => {
    const path = join(folder, 'file')
    writeFileAtomic(path, 'old and longer')
    writeFileAtomic(path, 'new')
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(readdirSync(folder)).toEqual(['file'])
  })

  it('leaves the former file where writing fails', () => {
    const path = join(folder, 'file')
    writeFileSync(path, 'old')
    const fail = () => {
      throw new Error('disk full')
    }
    expect(() => writeFileAtomic(path, fail)).toThrow('disk full')
    expect(readFileSync(path, 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['file'])
  })
})

describe('replaceDirectory', () => {
  it('makes a directory, with the folders above it, and replaces all of it', async () => {
    const target = join(folder, 'runs', 'model')
    await replaceDirectory(target, (directory) => writeFileSync(join(directory, 'old'), ''))
    await replaceDirectory(target, fillWith('new'))
    expect(readdirSync(target)).toEqual(['file'])
    expect(readdirSync(join(folder, 'runs'))).toEqual(['model'])
  })

  it('leaves the former directory where filling fails', async () => {
    const target = join(folder, 'model')
    await replaceDirectory(target, fillWith('old'))
    await expect(replaceDirectory(target, failHalfway)).rejects.toThrow('disk full')
    expect(readFileSync(join(target, 'file'), 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['model'])
  })

  it('replaces what a link points to and keeps the link', async () => {
    mkdirSync(join(folder, 'elsewhere'))
    symlinkSync('elsewhere', join(folder, 'model'))
    await replaceDirectory(join(folder, 'model'), fillWith('new'))
    expect(readFileSync(join(folder, 'elsewhere', 'file'), 'utf8')).toBe('new')
  })

  it('refuses to replace a file', async () => {
    writeFileSync(join(folder, 'model'), 'mine')
    await expect(replaceDirectory(join(folder, 'model'), fillWith('new'))).rejects.toThrow(/is a file: name a folder/)
    expect(readFileSync(join(folder, 'model'), 'utf8')).toBe('mine')
  })

  it('killed at any moment and swept, leaves one whole version', async () => {
    const delays = [0, 1, 2, 4, 7, 11, 16, 23, 31, 40]
    for (const delay of delays) {
      await killWriter(join(folder, 'model'), delay)
      sweepTemporaries(folder)
      expect(readdirSync(folder)).toEqual(['model'])
      const contents = readdirSync(join(folder, 'model')).map((file) =>
        readFileSync(join(folder, 'model', file), 'utf8'),
      )
      expect(contents).toHaveLength(8)
      expect(new Set(contents).size).toBe(1)
    }
  })
})

/** Starts a process that replaces `target` over and over by eight files with equal contents, and kills it while it does. */
function killWriter(target: string, delay: number): Promise<void> {
  const program = `
    import { writeFileSync } from 'node:fs'
    import { replaceDirectory } from '${new URL('../../dist/tensor/atomic.js', import.meta.url)}'
    for (let version = 1; ; version++) {
      const text = (version + ' ' + Date.now() + ' ').repeat(10000)
      await replaceDirectory(process.argv[1], async (directory) => {
        for (let file = 0; file < 8; file++) writeFileSync(directory + '/' + file, text)
      })
      if (version === 2) process.stdout.write('going')
    }`
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, target])
    let complaint = ''
    child.stderr.on('data', (chunk) => {
      complaint += chunk
    })
    child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), delay))
    child.on('close', (_, signal) => (signal === 'SIGKILL' ? resolve() : reject(new Error(complaint))))
  })
}

describe('sweepTemporaries', () => {
  const deadProcess = 2 ** 22 + 1 // above Linux's highest process number

  /** The name that a process on this machine gives to a temporary of `model`. */
  async function temporaryOf(process_: number, kind: 'partial' | 'replaced'): Promise<string> {
    let name = ''
    const remember = (directory: string) => {
      name = basename(directory)
      throw new Error('enough')
    }
    await replaceDirectory(join(folder, 'model'), remember).catch(() => {})
    return name.replace(`-${process.pid}-`, `-${process_}-`).replace(/partial$/, kind)
  }

  it('removes what a dead process had begun', async () => {
    const partial = await temporaryOf(deadProcess, 'partial')
    mkdirSync(join(folder, partial))
    expect(sweepTemporaries(folder)).toEqual([partial])
    expect(readdirSync(folder)).toEqual([])
  })

  it('puts back the former directory where the new one did not take its place', async () => {
    await replaceDirectory(join(folder, 'model'), fillWith('old'))
    renameSync(join(folder, 'model'), join(folder, await temporaryOf(deadProcess, 'replaced')))
    sweepTemporaries(folder)
    expect(readFileSync(join(folder, 'model', 'file'), 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['model'])
  })

  it('removes the former directory where the new one did', async () => {
    const replaced = await temporaryOf(deadProcess, 'replaced')
    mkdirSync(join(folder, replaced))
    await replaceDirectory(join(folder, 'model'), fillWith('new'))
    sweepTemporaries(folder)
    expect(readFileSync(join(folder, 'model', 'file'), 'utf8')).toBe('new')
    expect(readdirSync(folder)).toEqual(['model'])
  })

  it('leaves alone what a live process writes, and files of others', async () => {
    const mine = [
      await temporaryOf(process.pid, 'partial'),
      await temporaryOf(process.ppid, 'partial'),
      '.hidden.partial',
    ]
    for (const name of mine) mkdirSync(join(folder, name))
    expect(sweepTemporaries(folder)).toEqual([])
    for (const name of mine) expect(existsSync(join(folder, name))).toBe(true)
  })

  it('has nothing to do where the folder is not there', () => {
    expect(sweepTemporaries(join(folder, 'nowhere'))).toEqual([])
  })
})
