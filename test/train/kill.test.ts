import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeTinyModel } from '../tiny-model.ts'

const command = fileURLToPath(new URL('../../bin/prospect.js', import.meta.url))
let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-kill-'))
  writeTinyModel(join(folder, 'model'))
  const rows = Array.from({ length: 240 }, (_, i) => ({
    prompt: `Question ${i % 60}: `,
    completion: 'yes '.repeat(1 + (i % 7)),
    label: i % 3 === 0,
  }))
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

function startArguments(output: string): string[] {
  const flags =
    '--batch-size 8 --epochs 6 --save-every 7 --eval-every 10 --lr 1e-3 --precision float32 --threads 1 --quiet'
  const files = [
    '--model',
    join(folder, 'model'),
    '--data',
    join(folder, 'rows.jsonl'),
    '--cache',
    join(folder, 'cache'),
  ]
  return ['train', ...files, '--output', join(folder, output), ...flags.split(' ')]
}

/** Runs the command to its end, or kills it when its metrics have so many lines. */
function prospect(args: string[], killWhen?: { output: string; lines: number }): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [command, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    const metrics = killWhen && join(folder, killWhen.output, 'metrics.jsonl')
    const watch = setInterval(() => {
      if (metrics && existsSync(metrics) && readFileSync(metrics, 'utf8').split('\n').length > killWhen.lines)
        child.kill('SIGKILL')
    }, 5)
    child.on('close', (code, signal) => {
      clearInterval(watch)
      if (code === 0 || signal === 'SIGKILL') resolve(code)
      else reject(new Error(`ended with ${code}: ${stderr}`))
    })
  })
}

test('killed five times and resumed each time, a run writes the same bytes as an undisturbed one', async () => {
  await prospect(startArguments('whole'))
  await prospect(startArguments('killed'), { output: 'killed', lines: 3 }) // before the first checkpoint
  let kills = 1
  for (const lines of [15, 22, 58, 101]) {
    if (
      (await prospect(['train', '--resume', join(folder, 'killed'), '--quiet'], { output: 'killed', lines })) === null
    )
      kills++
  }
  expect(kills).toBe(5)
  await prospect(['train', '--resume', join(folder, 'killed'), '--quiet'])
  for (const file of ['metrics.jsonl', 'evaluation.jsonl', 'data.json', 'model/model.safetensors']) {
    expect(readFileSync(join(folder, 'killed', file)).equals(readFileSync(join(folder, 'whole', file))), file).toBe(
      true,
    )
  }
})
