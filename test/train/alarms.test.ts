import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { train } from '../../src/index.ts'
import { scope } from '../../src/tensor/scope.ts'
import { alarmMemory, alarmsOf, type Observed } from '../../src/train/alarms.ts'
import { type Batch, type Trainer, trainStep } from '../../src/train/step.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { disposeTrainer, golden, goldenRows, trainerOf } from './fixtures.ts'

/** Steps whose values are given by functions of their number. */
function history(
  of: Partial<Record<'chosen' | 'rejected' | 'mean' | 'saturated', (step: number) => number>>,
): Observed[] {
  return Array.from({ length: alarmMemory }, (_, step) => {
    const wobble = 0.01 * ((step % 3) - 1)
    const [chosen, rejected] = [of.chosen?.(step) ?? 0.5, of.rejected?.(step) ?? -0.5]
    const mean = (of.mean?.(step) ?? 0.4) + wobble
    return {
      rewards: { chosen: chosen + wobble, rejected: rejected + wobble, margin: chosen - rejected, accuracy: 1 },
      kl: { value: Math.max(0, mean), mean, standardError: 0.1, count: 8 },
      saturated: of.saturated?.(step) ?? 0,
    }
  })
}
const names = (past: readonly Observed[], lengths: Parameters<typeof alarmsOf>[1] = null) =>
  alarmsOf(past, lengths).map(({ name }) => name)

describe('alarms', () => {
  test('none where all is well, nor before there is anything to compare', () => {
    expect(names(history({}))).toEqual([])
    expect(names(history({ chosen: (step) => -step, rejected: (step) => -step }).slice(5))).toEqual([])
  })

  test('both mean rewards fall', () => {
    const falling = history({ chosen: (step) => -0.1 * step, rejected: (step) => -0.3 * step })
    expect(alarmsOf(falling, null)[0]).toMatchObject({
      name: 'both-rewards-fall',
      message: expect.stringMatching(/thumbs-up -0\.4.* -> -1\.4.*learning rate/),
    })
    expect(names(history({ chosen: (step) => 0.1 * step, rejected: (step) => -0.3 * step }))).toEqual([])
    expect(names(history({ chosen: (step) => 9 - 0.1 * step, rejected: (step) => -0.3 * step }))).toEqual([]) // still above the reference
  })

  test('z0 stays 0, and whether that is expected', () => {
    expect(alarmsOf(history({ mean: () => -0.8 }), null)[0]).toMatchObject({
      name: 'z0-stays-0',
      message: expect.stringMatching(/is clearly below 0/),
    })
    const untrained = history({}).map((step) => ({ ...step, kl: { value: 0, mean: 0, standardError: 0, count: 8 } }))
    expect(alarmsOf(untrained, null)[0]!.message).toMatch(/as is expected while the policy is close/)
    const never = untrained.map((step) => ({ ...step, kl: { ...step.kl, count: 0 } })) // not estimated: fixed, or none
    expect(names(never)).toEqual([])
  })

  test('most rows are saturated', () => {
    expect(names(history({ saturated: () => 0.7 }))).toEqual(['saturated'])
    expect(names(history({ saturated: (step) => (step % 2 ? 0.7 : 0.2) }))).toEqual([])
  })

  test('the length of replies drifts', () => {
    const before = [20, 24, 18, 22, 21, 23]
    expect(names(history({}), { before, now: before.map((length) => 2 * length) })).toEqual(['length-drift'])
    expect(names(history({}), { before, now: before.map((length) => length + 1) })).toEqual([])
    expect(names(history({}), { before: [5, 40, 3, 60], now: [30, 70, 9, 50] })).toEqual([]) // more, but by chance
  })
})

describe('a step that is not finite', () => {
  const { examples, mismatched } = goldenRows()
  const batch = (bad: number[]): Batch => ({
    rows: examples,
    referenceLogps: Float32Array.from(examples, (_, row) => (bad.includes(row) ? Number.NaN : -40 - row)),
    mismatched,
    mismatchedReferenceLogps: Float32Array.from(mismatched, (_, row) => -50 - row),
  })
  const weights = (trainer: Trainer) =>
    [...trainer.decoder.parameters.values()].map((parameter) => scope(() => parameter.toArray()))

  test('changes nothing, names its rows, and leaves the next step as it would have been', () => {
    const [trainer, other] = [
      trainerOf(golden('kto/policy'), { type: 'kto' }),
      trainerOf(golden('kto/policy'), { type: 'kto' }),
    ]
    const before = weights(trainer)
    const result = trainStep(trainer, batch([2, 5]), 1)
    expect(result.notFinite).toEqual([examples[2], examples[5]])
    expect(weights(trainer)).toEqual(before)
    expect(trainStep(trainer, batch([]), 1)).toEqual(trainStep(other, batch([]), 1))
    expect(weights(trainer)).toEqual(weights(other))
    expect(weights(trainer)).not.toEqual(before)
    for (const one of [trainer, other]) disposeTrainer(one)
  })
})

describe('a run', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'prospect-alarms-'))
    writeTinyModel(join(folder, 'model'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const rows = (label: (i: number) => boolean) => {
    const file = join(folder, 'rows.jsonl')
    const all = Array.from({ length: 48 }, (_, i) => ({
      prompt: `Say ${i}: `,
      completion: `yes ${i % 5}`,
      label: label(i),
    }))
    writeFileSync(file, all.map((row) => `${JSON.stringify(row)}\n`).join(''))
    return file
  }
  const options = (data: string, learningRate: number, output: string) => ({
    model: join(folder, 'model'),
    data,
    output: join(folder, output),
    cache: join(folder, 'cache'),
    batchSize: 4,
    optimizer: { learningRate, maxGradNorm: 0 },
    schedule: { type: 'constant', warmup: 0 } as const,
    evaluation: { split: 0 },
    samples: { prompts: 0 },
    precision: 'float32' as const,
  })
  async function linesOf(given: Parameters<typeof train>[0]) {
    const lines: string[] = []
    const progress = { start: () => ({ update() {}, stop() {} }), log: (line: string) => lines.push(line) }
    const run = await train(given, { progress })
    const error = await run.finished.then(
      () => null,
      (reason: Error) => reason.message,
    )
    return { lines, error }
  }

  test('stops after three steps in a row that are not finite, with a checkpoint and what to do', async () => {
    const { lines, error } = await linesOf(
      options(
        rows((i) => i % 2 === 0),
        1e25,
        'blown',
      ),
    )
    expect(error).toMatch(
      /not finite for three steps in a row.*checkpoint.*(learning rate|comes from .*rows\.jsonl:\d+)/,
    )
    expect(lines.filter((line) => /was not applied: the loss is/.test(line))).toHaveLength(3)
    const metrics = readFileSync(join(folder, 'blown', 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
    const skipped = metrics.map((line) => JSON.parse(line)).filter(({ notApplied }) => notApplied)
    expect(skipped).toHaveLength(3)
    const state = readFileSync(join(folder, 'blown', 'checkpoints', 'latest', 'state.json'), 'utf8')
    expect(JSON.parse(state)).toMatchObject({ step: metrics.length, updates: metrics.length - 3 })
  })

  test('warns of rows of one kind, with what to do', async () => {
    const { lines } = await linesOf(
      options(
        rows(() => true),
        1e-4,
        'one-kind',
      ),
    )
    expect(lines.join('\n')).toMatch(
      /all 48 rows are thumbs-up: kto needs both kinds.*label: true or false.*--loss sft/,
    )
  })

  test('says an alarm once when it comes on, and writes it into every line of metrics while it is', async () => {
    const { lines } = await linesOf({
      ...options(
        rows((i) => i % 2 === 0),
        2e-2,
        'alarmed',
      ),
      epochs: 4,
    })
    const metrics = readFileSync(join(folder, 'alarmed', 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const on = metrics.filter(({ alarms }) => alarms.length > 0)
    expect(on.length).toBeGreaterThan(1)
    const risings = metrics.flatMap(({ alarms }, i) =>
      alarms.filter((name: string) => !metrics[i - 1]?.alarms.includes(name)),
    )
    expect(lines.filter((line) => line.startsWith('warning: step'))).toHaveLength(risings.length)
  })
})
