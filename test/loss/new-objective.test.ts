import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { writeTinyModel } from '../tiny-model.ts'

const copy = mkdtempSync(join(tmpdir(), 'prospect-objective-'))
afterAll(() => rmSync(copy, { recursive: true, force: true }))

test('docs/new-objective.md: one file and one entry make an objective', { timeout: 120_000 }, () => {
  const page = readFileSync('docs/new-objective.md', 'utf8')
  const [file, entry] = [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code!)
  for (const name of ['src', 'bin']) cpSync(name, join(copy, name), { recursive: true })
  for (const name of ['node_modules', 'build', 'package.json', 'tsconfig.json', 'tsconfig.build.json'])
    symlinkSync(resolve(name), join(copy, name))
  writeFileSync(join(copy, 'src/loss/hinge.ts'), file!)
  const table = readFileSync(join(copy, 'src/loss/table.ts'), 'utf8')
  writeFileSync(join(copy, 'src/loss/table.ts'), table.replace('\n} satisfies Record', `\n${entry}} satisfies Record`))
  execFileSync(
    process.execPath,
    [resolve('node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--incremental', 'false'],
    { cwd: copy },
  )

  writeTinyModel(join(copy, 'model'))
  const rows = Array.from({ length: 48 }, (_, i) => ({
    prompt: `Bring ${i % 12}. `,
    completion: i % 2 ? 'tea' : 'MILK',
    label: i % 2 === 0,
  }))
  writeFileSync(join(copy, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const flags =
    '--loss hinge --margin 0.5 --lr 3e-3 --batch-size 8 --epochs 3 --precision float32 --quiet --sample-prompts 0 --cache cache'
  const train = [
    'bin/prospect.js',
    'train',
    '--model',
    'model',
    '--data',
    'rows.jsonl',
    '--output',
    'run',
    ...flags.split(' '),
  ]
  execFileSync(process.execPath, train, { cwd: copy })
  const metrics = readFileSync(join(copy, 'run/metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(metrics[0].loss).toBeCloseTo(0.5, 6) // the margin, before anything is learnt
  expect(metrics.at(-1).loss).toBeLessThan(0.4)
  expect(readFileSync(join(copy, 'run/config.yaml'), 'utf8')).toMatch(/type: hinge\n {2}beta: 0\.1\n {2}margin: 0\.5/)
})
