import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { availableMemory } from '../../src/tensor/available-memory.ts'
import { BackgroundFiles } from '../../src/tensor/background-files.ts'
import { memoryUse } from '../../src/tensor/engine.ts'
import { op } from '../../src/tensor/operators.ts'
import { readSafetensors, writeSafetensors } from '../../src/tensor/safetensors.ts'
import { liveTensors, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const scratch = mkdtempSync(join(tmpdir(), 'background-'))
afterAll(() => rmSync(scratch, { recursive: true }))
let folder: string
let next = 0
beforeEach(() => {
  folder = join(scratch, `${next++}`)
  mkdirSync(folder)
})

/** 48 MB in three tensors. */
function largeTensors(): [string, Tensor][] {
  return [0, 1, 2].map((i) => [`t${i}`, op.full([2000, 2000], i + 0.5, 'float32')])
}

function expectValues(file: string): void {
  const { tensors } = readSafetensors(join(folder, file))
  for (const i of [0, 1, 2])
    scope(() => expect(new Set(tensors.get(`t${i}`)!.load().toArray())).toEqual(new Set([i + 0.5])))
}

describe('files written in the background', () => {
  test.each([
    ['copies', Number.POSITIVE_INFINITY],
    ['waits', 0],
  ])('hold tensors as they were, though they change at once after detach(), which %s', async (_, memory) => {
    const tensors = largeTensors()
    const before = memoryUse().live
    const files = new BackgroundFiles()
    files.write(join(folder, 'a.safetensors'), tensors, { format: 'pt' })
    files.write(join(folder, 'b.safetensors'), tensors)
    const done = files.start()
    files.detach(() => memory)
    scope(() => {
      for (const [, tensor] of tensors) op.zeroInPlace(tensor)
    })
    await done
    expectValues('a.safetensors')
    expectValues('b.safetensors')
    expect(memoryUse().live).toBe(before) // copies are gone
    for (const [, tensor] of tensors) tensor.dispose()
  })

  test('are the bytes that writeSafetensors() writes', async () => {
    const wide = Tensor.from([1, 2, 3])
    const narrow = wide.to('bfloat16')
    const tensors: [string, Tensor][] = [
      ['narrow', narrow],
      ['wide', wide],
      ['empty', op.zeros([0, 4], 'float32')],
    ]
    const files = new BackgroundFiles()
    files.write(join(folder, 'a.safetensors'), tensors, { format: 'pt' })
    await files.start()
    writeSafetensors(join(folder, 'b.safetensors'), tensors, { format: 'pt' })
    const bytes = (name: string) => [...readSafetensors(join(folder, name)).tensors.keys()]
    expect(bytes('a.safetensors')).toEqual(bytes('b.safetensors'))
    for (const [, tensor] of tensors) tensor.dispose()
  })

  test('live on when their tensors are disposed of, and leave none behind', async () => {
    const before = liveTensors()
    const files = new BackgroundFiles()
    scope(() => files.write(join(folder, 'a.safetensors'), largeTensors()))
    expect(liveTensors()).toBe(before)
    await files.start()
    expectValues('a.safetensors')
  })

  test('say which file could not be written; then nothing is waited for', async () => {
    const files = new BackgroundFiles()
    scope(() => files.write(join(folder, 'missing/a.safetensors'), largeTensors()))
    await expect(files.start()).rejects.toThrow(/missing\/a\.safetensors: No such file/)
    files.detach(() => 0)
    writeFileSync(join(folder, 'there'), '')
    const other = new BackgroundFiles()
    scope(() => other.write(join(folder, 'there'), largeTensors()))
    await expect(other.start()).rejects.toThrow(/there: File exists/)
    expect(readdirSync(folder)).toEqual(['there'])
  })
})

describe('available memory', () => {
  function machine(files: Record<string, string>): string {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(folder, name, '..'), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    return folder
  }
  const meminfo = 'MemTotal:       8000 kB\nMemFree:        1000 kB\nMemAvailable:   5000 kB\n'

  test("is the system's", () => {
    expect(availableMemory(machine({ 'proc/meminfo': meminfo }))).toBe(5000 * 1024)
    expect(availableMemory()).toBeGreaterThan(1e6)
  })

  test.each([
    ['2', 'memory.max', 'memory.current', 'memory.stat', 'inactive_file'],
    ['1', 'memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes', 'memory/memory.stat', 'total_inactive_file'],
  ])(
    "is what a container's limit leaves, files that can be given back aside: control groups %s",
    (_, limit, use, stat, files) => {
      const root = machine({
        'proc/meminfo': meminfo,
        [`sys/fs/cgroup/${limit}`]: '3000000\n',
        [`sys/fs/cgroup/${use}`]: '2500000\n',
        [`sys/fs/cgroup/${stat}`]: `anon 1\n${files} 700000\n`,
      })
      expect(availableMemory(root)).toBe(1200000)
    },
  )

  test('a container without a limit says max', () => {
    const root = machine({
      'proc/meminfo': meminfo,
      'sys/fs/cgroup/memory.max': 'max\n',
      'sys/fs/cgroup/memory.current': '2500000\n',
    })
    expect(availableMemory(root)).toBe(5000 * 1024)
  })
})
