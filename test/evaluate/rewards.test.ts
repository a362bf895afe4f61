import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Random } from '../../src/data/random.ts'
import { rewardsOptions } from '../../src/evaluate/options.ts'
import { rewardReport, type ScoredRow } from '../../src/evaluate/reward-report.ts'
import { evaluateRewards, rewardsLogRatios } from '../../src/evaluate/rewards.ts'
import { train } from '../../src/index.ts'
import { completeLoss } from '../../src/loss/table.ts'
import { liveTensors } from '../../src/tensor/scope.ts'
import type { TrainOptions } from '../../src/train/options.ts'
import { writeTinyModel } from '../tiny-model.ts'

const row = (desirable: boolean, ratio: number, line = 1): ScoredRow => ({
  origin: { file: 'rows.jsonl', line },
  desirable,
  policy: -50 + ratio,
  reference: -50,
})

describe('what rewards say', () => {
  const inputs = { beta: 0.5, referencePoint: 0, ownLogRatios: [], listed: 5 }

  test('accuracy goes by z0, area and drift do not', () => {
    const rows = [row(true, 6), row(true, 2), row(false, 3), row(false, -2)]
    const at = (referencePoint: number) => rewardReport({ ...inputs, rows, referencePoint })
    expect(at(0).accuracy).toMatchObject({ successes: 3, total: 4 })
    expect(at(4).accuracy).toMatchObject({ successes: 3, total: 4 })
    expect(at(2.5).accuracy).toMatchObject({ successes: 2, total: 4 })
    expect(at(0).area!.area).toBe(0.75)
    expect(at(4).area).toEqual(at(0).area)
    expect(at(0).drift).toMatchObject([
      { label: 'thumbs-up', rows: 2, mean: 4 },
      { label: 'thumbs-down', rows: 2, mean: 0.5 },
    ])
  })

  test('a reward on the reference point is half right, whatever the thumb', () => {
    const rows = [true, false, false, false].map((desirable) => row(desirable, 0))
    expect(rewardReport({ ...inputs, rows }).accuracy).toMatchObject({ share: 0.5, total: 4 })
  })

  test('rows of one prompt are one piece of evidence: of a reward that goes by the prompt alone, intervals hold chance', () => {
    const random = new Random('prompts')
    const rows = Array.from({ length: 200 }, (_, i) =>
      row(i % 20 < 10, (i % 20 < 10 ? 1 : -1) * (1 + (i % 4) / 4) + random.share() / 9, i),
    )
    const one = (prompts: number) => rewardReport({ ...inputs, rows, prompts: rows.map((_, i) => i % prompts) })
    const [few, many] = [one(4), one(200)]
    expect(few.accuracy.share).toBe(many.accuracy.share)
    expect(few.accuracy.low).toBeLessThan(0.55)
    expect(many.accuracy.low).toBeGreaterThan(0.95)
    expect(few.area!.low).toBeLessThan(many.area!.low - 0.1)
    const width = ({ drift }: typeof few) => drift[0]!.high - drift[0]!.low
    expect(width(few)).toBeGreaterThan(2 * width(many))
  })

  test('no thumb is called into question by a reward that is not seen to tell thumbs apart', () => {
    const random = new Random('noise')
    const rows = Array.from({ length: 100 }, (_, i) => row(i % 2 === 0, random.share() + (i % 2 === 0 ? 0.02 : 0), i))
    const { area, lists } = rewardReport({ ...inputs, rows })
    expect(area!.low).toBeLessThan(0.5)
    expect(lists).toMatchObject({ mislabelled: [], mislabelledInAll: 0 })
  })

  test('lists are cut, and say how many rows there are', () => {
    const rows = Array.from({ length: 80 }, (_, i) =>
      row(i % 2 === 0, (i % 2 === 0 ? 3 : -3) * (i % 10 < 2 ? -1 : 1), i),
    )
    const { lists } = rewardReport({ ...inputs, rows, listed: 5 })
    expect([lists.worsened.length, lists.worsenedInAll]).toEqual([5, 16])
  })

  test('objectives whose own reward is another one than beta times the log-ratio are known', () => {
    const others = (['kto', 'dpo', 'bco', 'ipo', 'simpo', 'slic', 'orpo', 'sft', 'ppo'] as const).filter(
      (type) => !rewardsLogRatios(completeLoss({ type })),
    )
    expect(others).toEqual(['ipo', 'simpo', 'slic', 'orpo', 'sft', 'ppo'])
    expect(rewardsLogRatios(completeLoss({ type: 'kto', referenceFree: true }))).toBe(false)
  })

  test('rows with a turned thumb are found, the surest first', () => {
    const random = new Random('mislabelled')
    const rows = Array.from({ length: 200 }, (_, i) => {
      const good = i % 2 === 0
      const turned = i === 40 || i === 41
      return row(good !== turned, (good ? 3 : -3) + random.share() + (turned ? (good ? 4 : -5) : 0), i)
    })
    const { mislabelled, worsened } = rewardReport({ ...inputs, rows }).lists
    expect(mislabelled.map(({ origin }) => origin.line).slice(0, 2)).toEqual([41, 40])
    expect(worsened.map(({ origin }) => origin.line)).toEqual([41, 40])
    const useless = rows.map((one) => ({ ...one, policy: -50 }))
    expect(rewardReport({ ...inputs, rows: useless }).lists.mislabelled).toEqual([])
  })

  test('probabilities that come true are calibrated; saturated rows are counted', () => {
    const random = new Random('calibrated')
    const rows = Array.from({ length: 4000 }, () => {
      const ratio = 8 * random.share() - 4
      return row(random.share() < 1 / (1 + Math.exp(-0.5 * ratio)), ratio)
    })
    expect(rewardReport({ ...inputs, rows }).calibration.expectedError).toBeLessThan(0.03)
    expect(rewardReport({ ...inputs, beta: 3, rows }).calibration.expectedError).toBeGreaterThan(0.1)
    expect(rewardReport({ ...inputs, rows }).lists.saturated).toBe(0)
    expect(rewardReport({ ...inputs, rows: [row(true, 20), row(false, -20), row(true, 1)] }).lists.saturated).toBe(2)
  })

  test('the KL is a mean over replies of the model, with Student’s interval', () => {
    const { kl } = rewardReport({ ...inputs, rows: [row(true, 1)], ownLogRatios: [1, 2, 3] })
    expect(kl).toMatchObject({ mean: 2, replies: 3 })
    expect(kl!.high - 2).toBeCloseTo(4.30265 / Math.sqrt(3), 4)
    expect(rewardReport({ ...inputs, rows: [row(true, 1)] })).toMatchObject({ kl: null, area: null })
  })
})

describe('prospect evaluate rewards', () => {
  let folder: string
  let data: string
  let short: Partial<TrainOptions>
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'prospect-rewards-'))
    data = join(folder, 'rows.jsonl')
    const rows = Array.from({ length: 48 }, (_, i) => ({
      prompt: `q${i % 12}`,
      completion: i % 2 ? 'aaaa' : 'zzzz',
      label: i % 2 === 1,
    }))
    writeFileSync(data, rows.map((one) => `${JSON.stringify(one)}\n`).join(''))
    short = {
      cache: join(folder, 'cache'),
      epochs: 4,
      batchSize: 8,
      evaluation: { split: 0 },
      samples: { prompts: 0 },
      precision: 'float32',
    }
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  test('of a run: what was trained shows, an untrained model has rewards of 0', async () => {
    const model = writeTinyModel(join(folder, 'model'))
    const run = await train({
      ...short,
      model,
      data,
      output: join(folder, 'run'),
      loss: { type: 'kto', beta: 0.2 },
      optimizer: { learningRate: 3e-3 },
    })
    await run.finished
    const output = join(folder, 'out')
    const evaluate = (given: object) =>
      evaluateRewards(
        rewardsOptions.parse({ data, output, klPrompts: 6, maxTokens: 8, precision: 'float32', ...given }),
      )
    const before = liveTensors()
    const report = await evaluate({ run: join(folder, 'run') })
    expect(liveTensors()).toBe(before)
    expect(report).toMatchObject({ rows: 48, desirable: 24, beta: 0.2 })
    expect(report.area!.area).toBeGreaterThan(0.95)
    expect(report.drift[0]!.mean).toBeGreaterThan(report.drift[1]!.mean)
    expect(report.kl!.replies).toBe(6)
    const lines = readFileSync(join(output, 'rows.jsonl'), 'utf8').trim().split('\n')
    expect(JSON.parse(lines[7]!)).toMatchObject({ origin: { file: data, line: 8 }, desirable: true })
    expect(report.cut).toEqual({ maxLength: 2048, prompts: 0, completions: 0 })
    expect((await evaluate({ run: join(folder, 'run'), maxLength: 5 })).cut).toMatchObject({ completions: 48 })
    const named = join(folder, 'named.jsonl')
    writeFileSync(named, readFileSync(data, 'utf8').replaceAll('"label"', '"thumb"'))
    const mapped = await evaluate({ run: join(folder, 'run'), data: named, feedback: { map: 'label=thumb' } })
    expect(mapped.area).toEqual(report.area)
    const same = await evaluate({ model, reference: model })
    expect(same.kl).toMatchObject({ mean: 0 })
    expect(same.area!.area).toBe(0.5)
    expect(same.accuracy.share).toBe(0.5)
  })

  test('of an adapter, by its run, its folder or put on a model: the base is read once', async () => {
    const model = writeTinyModel(join(folder, 'base'))
    const run = await train({
      ...short,
      model,
      data,
      output: join(folder, 'adapter-run'),
      adapter: { type: 'lora', rank: 4 },
      optimizer: { learningRate: 1e-2 },
    })
    const adapter = (await run.finished).model!
    let reads = 0
    const start = (_total: number, label: string) => {
      if (label.startsWith('weights')) reads++
      return { update() {}, stop() {} }
    }
    const evaluate = (given: object) =>
      evaluateRewards(
        rewardsOptions.parse({
          data,
          output: join(folder, 'a'),
          klPrompts: 2,
          maxTokens: 4,
          precision: 'float32',
          ...given,
        }),
        { progress: { start, log() {} } },
      )
    const before = liveTensors()
    const report = await evaluate({ run: join(folder, 'adapter-run') })
    expect(liveTensors()).toBe(before)
    expect(reads).toBe(1)
    expect(report.area!.area).toBeGreaterThan(0.95)
    expect(await evaluate({ model: adapter, reference: model })).toEqual(report)
    expect(await evaluate({ model, adapter })).toEqual(report)
    expect((await evaluate({ model: adapter, reference: adapter })).area!.area).toBe(0.5)
    expect(() => rewardsOptions.parse({ data: [data], run: 'runs/a', adapter })).toThrow(/--adapter goes on the model/)
    expect(() => rewardsOptions.parse({ data: [data], model })).toThrow(/--reference <folder>/)
  })
})
