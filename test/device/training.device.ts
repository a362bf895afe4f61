import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { deviceMemory, synchronize } from '../../src/tensor/device.ts'
import { liveTensors } from '../../src/tensor/scope.ts'
import type { TrainOptions } from '../../src/train/options.ts'
import type { StepMetrics } from '../../src/train/run.ts'
import { accumulateGradients, trainStep } from '../../src/train/step.ts'
import { train } from '../../src/train/train.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { disposeTrainer, golden, goldenRows, relativeDifference, trainerOf } from '../train/fixtures.ts'
import { numberedRows, writeRows } from '../train/runs.ts'

const device = process.env.PROSPECT_TEST_DEVICE ?? 'cuda:0'
const isNamed = /^(cuda|cpu)/.test(device)
if (!isNamed) console.log(`runs of train() are left out: ${device} is no device that --device names`)

const { examples, mismatched } = goldenRows()
const batch = {
  rows: examples,
  referenceLogps: Float32Array.from(examples, (_, i) => -40 - i),
  mismatched,
  mismatchedReferenceLogps: Float32Array.from(mismatched, (_, i) => -45 + i),
}

test('in bfloat16, log-probabilities are within 1e-2 of those in float32', () => {
  const trainer = trainerOf(golden('kto/policy'), { type: 'kto', beta: 0.1 })
  try {
    const exact = accumulateGradients(trainer, batch)
    trainer.optimizer.clearGradients()
    const rounded = accumulateGradients({ ...trainer, compute: 'bfloat16' }, batch)
    expect(relativeDifference(rounded.logps, exact.logps)).toBeLessThan(1e-2)
    expect(Math.abs(rounded.loss / exact.loss - 1)).toBeLessThan(1e-2)
  } finally {
    disposeTrainer(trainer)
  }
})

test('steps leave no tensors and no memory behind', () => {
  const trainer = trainerOf(golden('kto/policy'), { type: 'kto', beta: 0.1 })
  try {
    const use = () => {
      synchronize(device)
      return [liveTensors(), deviceMemory(device)?.allocated, deviceMemory(device)?.reserved]
    }
    for (let step = 0; step < 5; step++) trainStep(trainer, batch, 1)
    const before = use()
    for (let step = 0; step < 20; step++) trainStep(trainer, batch, 1)
    expect(use()).toEqual(before)
  } finally {
    disposeTrainer(trainer)
  }
})

describe.runIf(isNamed)('a run of train()', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'prospect-device-'))
    writeTinyModel(join(folder, 'model'))
    writeRows(join(folder, 'rows.jsonl'), numberedRows())
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const options = (output: string, more: Partial<TrainOptions> = {}): TrainOptions => ({
    model: join(folder, 'model'),
    data: [join(folder, 'rows.jsonl')],
    output: join(folder, output),
    cache: join(folder, `${output}-cache`),
    batchSize: 8,
    maxSteps: 20,
    optimizer: { learningRate: 1e-3 },
    precision: 'float32',
    evaluation: { split: 0 },
    samples: { prompts: 0 },
    device,
    ...more,
  })
  async function metricsOf(given: TrainOptions): Promise<StepMetrics[]> {
    const run = await train(given)
    const all: StepMetrics[] = []
    for await (const metrics of run) all.push(metrics)
    await run.finished
    return all
  }

  test.each([{}, { adapter: { type: 'lora' as const, rank: 4, dropout: 0.1 } }])(
    '20 steps have the losses of the processor to 1e-3 (%o)',
    async (more) => {
      const here = await metricsOf(options(`cpu-${'adapter' in more}`, { ...more, device: 'cpu' }))
      const there = await metricsOf(options(`gpu-${'adapter' in more}`, more))
      for (const [i, { loss }] of there.entries())
        expect(Math.abs(loss - here[i]!.loss), `step ${i + 1}`).toBeLessThan(1e-3)
    },
  )

  /** A whole run, and one that is stopped after 8 of 20 steps and resumed. */
  async function wholeAndResumed(name: string, given: Partial<TrainOptions>): Promise<[string, string]> {
    const more = { ...given, checkpoint: { every: 5 } }
    await metricsOf(options(`${name}-whole`, more))
    const stop = new AbortController()
    const run = await train(options(`${name}-stopped`, more), { signal: stop.signal })
    for await (const { step } of run) if (step === 8) stop.abort(new Error('enough'))
    await run.finished
    const stopped = join(folder, `${name}-stopped`)
    const resumed = await train(options(`${name}-stopped`, more), { resume: stopped })
    await resumed.finished
    return [join(folder, `${name}-whole`), stopped]
  }

  test('interrupted and resumed with --deterministic, it writes the same bytes', async () => {
    const folders = await wholeAndResumed('exact', { deterministic: true })
    for (const file of ['metrics.jsonl', 'model/model.safetensors']) {
      const [a, b] = folders.map((path) => readFileSync(join(path, file)))
      expect(a!.equals(b!), file).toBe(true)
    }
  })

  test('interrupted and resumed without it, the losses agree to 1e-3', async () => {
    const folders = await wholeAndResumed('free', {})
    const [a, b] = folders.map((path) =>
      readFileSync(join(path, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as StepMetrics).loss),
    )
    expect(b).toHaveLength(20)
    for (const [i, loss] of a!.entries()) expect(Math.abs(b![i]! / loss - 1), `step ${i + 1}`).toBeLessThan(1e-3)
  })

  test('--micro-batch-tokens auto finds a number, and config.yaml has it', async () => {
    await metricsOf(options('auto', { microBatchTokens: 'auto', maxSteps: 2 }))
    expect(readFileSync(join(folder, 'auto/config.yaml'), 'utf8')).toMatch(/microBatchTokens: \d+/)
  })
})
