import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeTinyModel } from '../tiny-model.ts'
import { numberedRows, writeRows } from './runs.ts'

const command = fileURLToPath(new URL('../../bin/prospect.js', import.meta.url))
let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-kill-'))
  writeTinyModel(join(folder, 'model'))
  writeRows(join(folder, 'rows.jsonl'), numberedRows())
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

interface KillWhen {
  output: string
  /** When its metrics have so many lines. */
  lines: number
  /** When then also a checkpoint is being written, or one is whole. */
  checkpoint?: 'begun' | 'whole'
}

const checkpointsOf = (output: string) => {
  const path = join(folder, output, 'checkpoints')
  return existsSync(path) ? readdirSync(path) : []
}
const isBeingWritten = (name: string) => name.endsWith('.partial')
const latestOf = (output: string) => join(folder, output, 'checkpoints/latest/state.json')

/** Runs the command to its end, or kills it. */
function prospect(args: string[], killWhen?: KillWhen): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [command, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    const metrics = killWhen && join(folder, killWhen.output, 'metrics.jsonl')
    const reached = {
      begun: (output: string) => checkpointsOf(output).some(isBeingWritten),
      whole: (output: string) => existsSync(latestOf(output)),
    }
    const due = () =>
      metrics &&
      existsSync(metrics) &&
      readFileSync(metrics, 'utf8').split('\n').length > killWhen.lines &&
      (!killWhen.checkpoint || reached[killWhen.checkpoint](killWhen.output))
    const watch = setInterval(() => due() && child.kill('SIGKILL'), killWhen?.checkpoint ? 1 : 5)
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

test('killed while checkpoints are written, a run has the ones before and writes the same bytes', async () => {
  const everyStep = (output: string) => {
    const args = startArguments(output)
    args[args.indexOf('--save-every') + 1] = '1'
    return [...args, '--max-steps', '40', '--eval-split', '0', '--sample-prompts', '0']
  }
  await prospect(everyStep('whole-saving'))
  const [output, resume] = ['killed-saving', ['train', '--resume', join(folder, 'killed-saving'), '--quiet']]
  let halves = 0
  for (const [i, lines] of [3, 9, 16, 24, 31].entries()) {
    const killed = await prospect(i === 0 ? everyStep(output) : resume, { output, lines, checkpoint: 'begun' })
    expect(killed).toBeNull()
    halves += Number(checkpointsOf(output).some(isBeingWritten))
    expect(checkpointsOf(output).filter((name) => name.startsWith('step-')).length).toBeGreaterThan(0)
  }
  expect(halves).toBeGreaterThan(0) // some were killed between the first byte and the rename
  await prospect(resume)
  expect(checkpointsOf(output).filter(isBeingWritten)).toEqual([])
  for (const file of ['metrics.jsonl', 'model/model.safetensors'])
    expect(readFileSync(join(folder, output, file)).equals(readFileSync(join(folder, 'whole-saving', file)))).toBe(true)
})

test('a checkpoint that cannot be written ends the run with its reason, and the run goes on from the one before', async () => {
  const args = [...startArguments('full'), '--max-steps', '100', '--eval-split', '0', '--sample-prompts', '0']
  args[args.indexOf('--save-every') + 1] = '5'
  expect(await prospect(args, { output: 'full', lines: 7, checkpoint: 'whole' })).toBeNull()
  const before = readFileSync(latestOf('full'), 'utf8')
  // No file may have more than 160 kB, as if the disk were full: the model's weights fit, the optimiser's moments do not.
  const limited = ['-c', 'ulimit -f 160; exec "$@"', 'bash', process.execPath, command, 'train', '--resume']
  const { status, stderr } = spawnSync('bash', [...limited, join(folder, 'full'), '--quiet'], { encoding: 'utf8' })
  expect(status).toBe(1)
  expect(stderr).toMatch(/optimizer\.safetensors: File too large/)
  expect(readFileSync(latestOf('full'), 'utf8')).toBe(before)
  expect(checkpointsOf('full').filter(isBeingWritten)).toEqual([])
  await prospect(['train', '--resume', join(folder, 'full'), '--quiet'])
  expect(existsSync(join(folder, 'full/model/model.safetensors'))).toBe(true)
})

interface PassLine {
  total?: number
  known?: number
  done?: number
  digest?: string
}

/** Runs the reference pass in a process of its own, and kills it once so many rows and pairs are done; what it said. */
function referencePass(cache: string, { wait = 0, killAt = Number.POSITIVE_INFINITY } = {}): Promise<PassLine[]> {
  const script = fileURLToPath(new URL('./reference-process.mjs', import.meta.url))
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, join(folder, 'model'), join(folder, cache), String(wait)])
    let [stdout, stderr] = ['', '']
    const said = () =>
      stdout
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as PassLine)
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    child.stdout.on('data', (chunk) => {
      stdout += chunk
      if ((said().at(-1)?.done ?? 0) >= killAt) child.kill('SIGKILL')
    })
    child.on('close', (code, signal) => {
      if (code === 0 || signal === 'SIGKILL') resolve(said())
      else reject(new Error(`ended with ${code}: ${stderr}`))
    })
  })
}
const cachedFiles = (cache: string) => readdirSync(join(folder, cache, 'reference'))

test('killed in the reference pass, the work goes on where it was: nothing that was kept is computed again, and the answers are the same', async () => {
  const whole = await referencePass('pass-whole')
  const { total } = whole[0]!
  let known = 0
  for (const part of [1 / 4, 1 / 2, 3 / 4]) {
    const said = await referencePass('pass-killed', { wait: 30, killAt: total! * part })
    expect(said.at(-1)!.digest).toBeUndefined() // it was killed
    expect(said[0]!.known).toBeGreaterThanOrEqual(known)
    known = said.at(-2)!.done! // the step after it was kept before it was killed, or it was not
    expect(cachedFiles('pass-killed').some((name) => name.endsWith('.part.safetensors'))).toBe(true)
  }
  const last = await referencePass('pass-killed')
  expect(last[0]!.known).toBeGreaterThanOrEqual(known)
  expect(last[1]!.done).toBeGreaterThan(known)
  expect(last.length).toBeLessThan(whole.length / 2)
  expect(last.at(-1)).toEqual(whole.at(-1))
  expect(cachedFiles('pass-killed')).toEqual(cachedFiles('pass-whole'))
})

test('two processes that share a cache folder at one time write the same runs as one that has its own', async () => {
  const shared = (output: string, cache: string) => {
    const args = startArguments(output)
    args[args.indexOf('--cache') + 1] = join(folder, cache)
    return prospect([...args, '--max-steps', '12'])
  }
  await shared('alone', 'cache-alone')
  await Promise.all(['one', 'other'].map((output) => shared(output, 'cache-shared')))
  for (const output of ['one', 'other'])
    for (const file of ['metrics.jsonl', 'evaluation.jsonl', 'data.json', 'model/model.safetensors'])
      expect(readFileSync(join(folder, output, file)).equals(readFileSync(join(folder, 'alone', file))), file).toBe(
        true,
      )
  const files = (cache: string) =>
    readdirSync(join(folder, cache), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length
  expect(files('cache-shared')).toBe(files('cache-alone')) // no halves and no temporaries are left
})
