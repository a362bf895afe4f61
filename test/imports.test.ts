import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')

/** The folders under src/ in CONTRIBUTING.md's words, in the order of the flow. */
function stages(): string[] {
  const text = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8')
  const stages = /in the order the data flows: ([^.]+)\./.exec(text)![1]!.split(/,\s+/)
  return stages.toSpliced(stages.indexOf('cli'), 0, 'index.ts') // the library, which the command uses as others do
}

interface Import {
  clause: string
  target: string
}

/** What a file loads of others, types left out. */
function valueImports(text: string): string[] {
  const found = [...text.matchAll(/^(?:import|export)\s+(?<clause>[^;'"]*?)\s*from\s+'(?<target>\.[^']+)'/gms)]
  const statements = found.map(({ groups }) => groups as unknown as Import)
  const dynamic = Array.from(text.matchAll(/\bimport\('(\.[^']+)'\)/g), ([, target]) => target!)
  const bare = Array.from(text.matchAll(/^import\s+'(\.[^']+)'/gm), ([, target]) => target!)
  return [...statements.filter(({ clause }) => !isTypes(clause)).map(({ target }) => target), ...dynamic, ...bare]
}

function isTypes(clause: string): boolean {
  if (clause.startsWith('type ')) return true
  const names = /^\{(.*)\}$/s
    .exec(clause)?.[1]
    ?.split(',')
    .map((name) => name.trim())
    .filter(Boolean)
  return names?.every((name) => name.startsWith('type ')) ?? false
}

function violations(file: string, text: string, order: readonly string[]): string[] {
  const [from] = file.split('/')
  return valueImports(text).filter((target) => {
    const [to] = relative('.', join(dirname(file), target)).split('/')
    const place = order.indexOf(to!)
    return to !== from && (place < 0 || place > order.indexOf(from!))
  })
}

test('a folder imports only from those before it', () => {
  const order = stages()
  const files = (readdirSync(join(root, 'src'), { recursive: true }) as string[]).filter((file) =>
    /\/.*\.ts$/.test(file),
  )
  expect(new Set(files.map((file) => file.split('/')[0]))).toEqual(
    new Set(order.filter((stage) => stage !== 'index.ts')),
  )
  const wrong = files.flatMap((file) =>
    violations(file, readFileSync(join(root, 'src', file), 'utf8'), order).map((target) => `${file} imports ${target}`),
  )
  expect(wrong).toEqual([])
})

test('it would be seen', () => {
  const order = ['model', 'train']
  const seen = (text: string) => violations('model/a.ts', text, order).length
  expect(seen("import { b } from '../train/b.ts'")).toBe(1)
  expect(seen("import { type A, b } from '../train/b.ts'")).toBe(1)
  expect(seen("import {\n  b,\n  c,\n} from '../train/b.ts'")).toBe(1)
  expect(seen("export { b } from '../index.ts'")).toBe(1)
  expect(seen("const { b } = await import('../train/b.ts')")).toBe(1)
  expect(seen("import '../train/b.ts'")).toBe(1)
  expect(seen("import type { B } from '../train/b.ts'\nimport { type C } from '../train/b.ts'")).toBe(0)
  expect(seen("import { b } from './adapters/b.ts'\nimport { join } from 'node:path'")).toBe(0)
})
