import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { train } from '../../src/index.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { liveTensors } from '../../src/tensor/scope.ts'
import type { TrainOptions } from '../../src/train/options.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { capitalRows, finish, quick, writeRows } from './runs.ts'

let folder: string
let model: string
let data: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-'))
  model = writeTinyModel(join(folder, 'model'))
  data = join(folder, 'rows.jsonl')
  writeRows(data, capitalRows())
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const options = (output: string, more: Partial<TrainOptions> = {}): TrainOptions => ({
  ...quick,
  model,
  data,
  output: join(folder, output),
  cache: join(folder, 'cache'),
  epochs: 2,
  evaluation: { split: 0.2 },
  samples: { prompts: 4 },
  ...more,
})

const text = (...path: string[]) => readFileSync(join(folder, ...path), 'utf8')
const bytes = (...path: string[]) => readFileSync(join(folder, ...path))

describe('a KTO run', () => {
  test('learns, and writes model, metrics and facts', async () => {
    const { steps, summary } = await finish(options('learns', { epochs: 6 }))
    expect(steps[0]!.rewards).toMatchObject({ chosen: 0, rejected: 0 }) // policy and reference are the same bits
    expect(steps[0]!.loss).toBe(0.5) // lambda - lambda sigmoid(0)
    expect(steps.at(-1)!.rewards!.margin).toBeGreaterThan(0.2)
    expect(summary.evaluation!.before.rewards!.margin).toBe(0)
    expect(summary.evaluation!.after.areaUnderCurve).toBeGreaterThan(0.9)
    const lines = text('learns', 'metrics.jsonl').trim().split('\n')
    expect(lines).toHaveLength(summary.steps)
    expect(JSON.parse(lines[1]!)).toMatchObject({ step: 2, kl: { count: 8 } })
    const facts = JSON.parse(text('learns', 'data.json'))
    expect(facts.train.rows + facts.heldOut.rows).toBe(48)
    expect(text('learns', 'model', 'README.md')).toContain('held-out rows')
    const samples = text('learns', 'samples.jsonl')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(samples.map(({ step }) => step)).toEqual([0, 0, summary.steps, summary.steps]) // two prompts are held out
    expect(samples[2]).toMatchObject({ prompt: samples[0].prompt, completion: expect.any(String) })
  })

  test('scores at most --eval-rows of the held-out rows, says so, and trains on none of the others', async () => {
    const said: string[] = []
    const progress = { start: () => ({ update() {}, stop() {} }), log: (text: string) => said.push(text) }
    const evaluation = { split: 0.5, rows: 8 }
    await finish(options('capped', { maxSteps: 1, evaluation, samples: { prompts: 0 } }), { progress })
    expect(said).toContain('8 of 24 held-out rows are scored (--eval-rows)')
    expect(JSON.parse(text('capped', 'evaluation.jsonl').split('\n')[0]!)).toMatchObject({ rows: 8 })
    const { train, heldOut } = JSON.parse(text('capped', 'data.json'))
    expect({ train: train.rows, ...heldOut }).toMatchObject({
      train: 24,
      rows: 8,
      of: 24,
      desirable: 4,
      undesirable: 4,
    })
  })

  test('interrupted and resumed ends in the same bytes as an undisturbed one', async () => {
    await finish(options('whole'))
    const controller = new AbortController()
    const run = await train(options('halves'), { signal: controller.signal })
    for await (const { step } of run) if (step === 5) controller.abort(new Error('interrupted'))
    expect((await run.finished).model).toBeNull()
    const { summary } = await finish({ model: '', data: [] }, { resume: join(folder, 'halves') })
    expect(summary.model).toBe(join(folder, 'halves', 'model'))
    for (const file of ['metrics.jsonl', 'evaluation.jsonl']) expect(text('halves', file)).toBe(text('whole', file))
    expect(bytes('halves', 'model', 'model.safetensors')).toEqual(bytes('whole', 'model', 'model.safetensors'))
  })

  test('so does one whose moments are in 8 bits', async () => {
    const given = (output: string) => ({
      ...options(output),
      adapter: { type: 'lora' as const, rank: 128 }, // matrices of 4,096 weights: smaller ones keep 32 bits
      optimizer: { ...quick.optimizer, type: 'adamw_8bit' as const },
    })
    await finish(given('whole-8bit'))
    const controller = new AbortController()
    const run = await train(given('halves-8bit'), { signal: controller.signal })
    for await (const { step } of run) if (step === 5) controller.abort(new Error('interrupted'))
    await run.finished
    const moments = readSafetensors(join(folder, 'halves-8bit/checkpoints/latest/optimizer.safetensors')).tensors
    expect(Array.from(moments.values(), ({ dtype }) => dtype)).toContain('uint8')
    await finish({ model: '', data: [] }, { resume: join(folder, 'halves-8bit') })
    expect(text('halves-8bit', 'metrics.jsonl')).toBe(text('whole-8bit', 'metrics.jsonl'))
    const result = ['adapter', 'adapter_model.safetensors'] as const
    expect(bytes('halves-8bit', ...result)).toEqual(bytes('whole-8bit', ...result))
  })

  test('the cached reference gives the same run as a fresh one', async () => {
    const fresh = { ...options('fresh'), cache: join(folder, 'other-cache') }
    await finish(fresh)
    await finish({ ...fresh, output: join(folder, 'cached') })
    expect(text('cached', 'metrics.jsonl')).toBe(text('fresh', 'metrics.jsonl'))
  })

  test('leaves no tensors behind', async () => {
    await finish(options('first'))
    const before = liveTensors()
    await finish(options('second'))
    expect(liveTensors()).toBe(before)
  })

  test('bfloat16 learns as float32 does', async () => {
    const { summary: half } = await finish(options('bf16', { precision: 'bf16', epochs: 4 }))
    const { summary: full } = await finish(options('fp32', { epochs: 4 }))
    expect(half.evaluation!.after.loss).toBeCloseTo(full.evaluation!.after.loss, 1)
  })
})

test('SFT lowers the loss on held-out rows', async () => {
  const { summary } = await finish(options('sft', { loss: { type: 'sft' } }))
  expect(summary.evaluation!.after.loss).toBeLessThan(summary.evaluation!.before.loss - 0.5)
})

test('SFT leaves thumbs-down rows out and says how many', async () => {
  await finish(options('sft-labels', { loss: { type: 'sft' }, epochs: 1 }))
  const facts = JSON.parse(text('sft-labels', 'data.json'))
  expect(facts.sources[0].leftOut).toBe(24)
  expect(facts.train.undesirable + facts.heldOut.undesirable).toBe(0)
})

describe('refuses', () => {
  test('a directory that holds a run', async () => {
    await expect(train(options('whole'))).rejects.toThrow(/holds a run already.*--resume/)
  })
  test('to write over what lies where a run writes', async () => {
    mkdirSync(join(folder, 'work'))
    const rows = join(folder, 'work/data.json')
    writeFileSync(rows, readFileSync(data))
    await expect(train(options('work', { data: rows }))).rejects.toThrow(/work\/data\.json is there already/)
    expect(readFileSync(rows)).toEqual(readFileSync(data))
  })
  test('to resume a complete run', async () => {
    await expect(train(options('whole'), { resume: join(folder, 'whole') })).rejects.toThrow(/complete/)
  })
  test('to resume when the rows have changed', async () => {
    const changed = join(folder, 'changed.jsonl')
    writeFileSync(changed, text('rows.jsonl'))
    const controller = new AbortController()
    const run = await train(options('moved', { data: changed }), { signal: controller.signal })
    controller.abort(new Error('interrupted'))
    await run.finished
    writeFileSync(changed, text('rows.jsonl').replace('tea', 'TEA'))
    await expect(train(options('moved'), { resume: join(folder, 'moved') })).rejects.toThrow(/rows changed/)
  })
  test('a malformed row, naming file and line', async () => {
    const bad = join(folder, 'bad.jsonl')
    writeFileSync(
      bad,
      '{"prompt": "a", "completion": "b", "label": true}\n{"prompt": "a", "completion": "b", "label": "meh"}\n',
    )
    await expect(train(options('bad', { data: bad }))).rejects.toThrow(/bad\.jsonl:2: label is "meh"/)
  })
})
