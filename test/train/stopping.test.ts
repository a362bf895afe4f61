import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Evaluation } from '../../src/train/run.ts'
import { bestEvaluation, isStale } from '../../src/train/stopping.ts'
import { train } from '../../src/train/train.ts'
import { writeTinyModel } from '../tiny-model.ts'

const losses = (...values: number[]) =>
  values.map((loss) => ({ rows: 1, loss, rewards: null, areaUnderCurve: loss / 10 })) as Evaluation[]

test('the best evaluation is the first of the lowest losses, or of the highest areas', () => {
  expect(bestEvaluation(losses(3, 1, 2, 1), 'loss')).toBe(1)
  expect(bestEvaluation(losses(3, 1, 2, 1), 'area-under-curve')).toBe(0)
  expect(bestEvaluation(losses(3, 1), 'accuracy')).toBeNull()
  expect(bestEvaluation(losses(3, Number.NaN), 'loss')).toBe(0)
})

test('patience counts evaluations since the best', () => {
  expect([1, 2, 3].map((patience) => isStale(losses(3, 1, 2, 1), 'loss', patience))).toEqual([true, true, false])
  expect(isStale(losses(3, 2, 1), 'loss', 1)).toBe(false)
  expect(isStale([], 'loss', 1)).toBe(false)
})

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-stopping-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('a run that becomes worse stops, resumed or not, and its best model is kept', async () => {
  const rows = (turned: boolean) =>
    Array.from(
      { length: 40 },
      (_, i) =>
        `${JSON.stringify({ prompt: `q${i % 10}`, completion: i % 2 ? 'aaaa' : 'zzzz', label: (i % 2 === 1) !== turned })}\n`,
    )
  writeFileSync(join(folder, 'train.jsonl'), rows(false).join(''))
  writeFileSync(join(folder, 'held-out.jsonl'), rows(true).join('')) // whatever is learnt is wrong there
  const options = {
    model: writeTinyModel(join(folder, 'model')),
    data: join(folder, 'train.jsonl'),
    cache: join(folder, 'cache'),
    epochs: 6,
    batchSize: 8,
    optimizer: { learningRate: 3e-3 },
    evaluation: {
      data: join(folder, 'held-out.jsonl'),
      every: 2,
      patience: 3,
      keepBest: true,
      metric: 'loss' as const,
    },
    samples: { prompts: 0 },
    precision: 'float32' as const,
  }
  const run = await train({ ...options, output: join(folder, 'whole') })
  const { steps } = await run.finished
  expect(steps).toBe(6)
  expect(existsSync(join(folder, 'whole/best/model.safetensors'))).toBe(true)
  expect(existsSync(join(folder, 'whole/model/model.safetensors'))).toBe(true)

  const stop = new AbortController()
  const parts = join(folder, 'parts')
  const first = await train({ ...options, output: parts }, { signal: stop.signal })
  for await (const { step } of first) if (step === 3) stop.abort(new Error('enough'))
  await first.finished
  const second = await train(options, { resume: parts })
  expect((await second.finished).steps).toBe(6)
  for (const file of ['model/model.safetensors', 'best/model.safetensors', 'evaluation.jsonl', 'metrics.jsonl'])
    expect(readFileSync(join(parts, file)).equals(readFileSync(join(folder, 'whole', file))), file).toBe(true)
})
