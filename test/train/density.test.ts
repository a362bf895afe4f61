import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { train } from '../../src/index.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { liveTensors, scope } from '../../src/tensor/scope.ts'
import type { TrainOptions } from '../../src/train/options.ts'
import type { StepMetrics, TrainHooks } from '../../src/train/run.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { quick } from './runs.ts'

let folder: string
const path = (...names: string[]) => join(folder, ...names)
/** Of prompts about tea most rows are thumbs up, of those about coal most are thumbs down; those about milk have both. */
const rows = Array.from({ length: 96 }, (_, i) => {
  const about = ['tea', 'coal', 'milk'][i % 3]!
  const label = about === 'tea' ? i % 4 !== 0 : about === 'coal' ? i % 4 === 0 : i % 2 === 0
  return { prompt: `${about} ${about} ${about} ${i % 7}. `, completion: label ? 'YES' : 'no', label }
})

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-density-'))
  writeTinyModel(path('model'))
  writeFileSync(path('rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const options = (output: string, more: Partial<TrainOptions> = {}): TrainOptions => ({
  ...quick,
  model: path('model'),
  data: path('rows.jsonl'),
  output: path(output),
  cache: path('cache'),
  loss: { type: 'bco', densityRatio: true },
  epochs: 2,
  batchSize: 16,
  evaluation: { split: 0 },
  ...more,
})

async function finish(given: TrainOptions, hooks: TrainHooks = {}) {
  const lines: string[] = []
  const progress = { start: () => ({ update() {}, stop() {} }), log: (line: string) => lines.push(line) }
  const run = await train(given, { progress, ...hooks })
  const steps: StepMetrics[] = []
  for await (const step of run) steps.push(step)
  await run.finished
  return { steps, lines }
}
const ratios = (run: string) =>
  scope(() => readSafetensors(path(run, 'density-ratio.safetensors')).tensors.get('train')!.load().toArray())

test('thumbs-down rows count more where their prompts are mostly those of thumbs-up rows, and the run says by how much', async () => {
  const { lines, steps } = await finish(options('whole'))
  const live = liveTensors()
  const found = ratios('whole')
  const mean = (about: string) => {
    const of = Array.from(found).filter((_, i) => rows[i]!.prompt.startsWith(about) && !rows[i]!.label)
    return of.reduce((sum, value) => sum + value, 0) / of.length
  }
  expect(found).toHaveLength(96)
  // Thumbs are up in 3 of 4, 2 of 4 and 1 of 4 rows of these prompts, and in half of all rows.
  expect(Math.abs(Math.log(mean('tea') / 3))).toBeLessThan(0.4)
  expect(Math.abs(Math.log(mean('milk')))).toBeLessThan(0.2)
  expect(mean('coal')).toBeLessThan(0.65)
  expect(Array.from(found).filter((ratio, i) => rows[i]!.label && ratio !== 1)).toEqual([])
  expect(lines.join('\n')).toMatch(/density ratio: thumbs-down rows weigh 0\.5 to [\d.]+ times, [\d.]+ on average/)
  // At the start every row's loss is log 2, so the mean loss of the whole data set shows its weights.
  const one = { ...options('one'), batchSize: 96, epochs: 1 }
  const { steps: whole } = await finish(one)
  const weights = rows.map(({ label }, i) => (label ? 1 : found[i]!))
  expect(whole[0]!.loss).toBeCloseTo((Math.log(2) * weights.reduce((sum, value) => sum + value, 0)) / 96, 5)
  expect(steps.at(-1)!.rewards!.margin!).toBeGreaterThan(0)
  expect(liveTensors()).toBe(live)
})

test('is what other micro-batches give, and a resumed run goes on with it to the same bytes', async () => {
  await finish(options('small', { microBatchTokens: 40, maxSteps: 1 }))
  const [one, other] = [ratios('whole'), ratios('small')]
  for (const [i, ratio] of one.entries()) expect(other[i]).toBeCloseTo(ratio, 4)
  const controller = new AbortController()
  const run = await train(options('halves'), { signal: controller.signal })
  for await (const { step } of run) if (step === 6) controller.abort(new Error('interrupted'))
  await run.finished
  await finish({ model: '', data: [] }, { resume: path('halves') })
  for (const file of ['metrics.jsonl', 'density-ratio.safetensors', 'model/model.safetensors'])
    expect(readFileSync(path('halves', file)).equals(readFileSync(path('whole', file))), file).toBe(true)
})
