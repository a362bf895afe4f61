import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makePlan } from '../../src/data/plan.ts'
import type { Example } from '../../src/data/types.ts'
import { train } from '../../src/index.ts'
import { openModelFolder } from '../../src/model/folder.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { readSafetensors, writeSafetensors } from '../../src/tensor/safetensors.ts'
import { liveTensors, scope } from '../../src/tensor/scope.ts'
import { LiveReference } from '../../src/train/live-reference.ts'
import type { TrainOptions } from '../../src/train/options.ts'
import { referenceLogps } from '../../src/train/reference.ts'
import type { StepMetrics } from '../../src/train/run.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { disposeTrainer, golden, relativeDifference, trainerOf } from './fixtures.ts'
import { quick } from './runs.ts'

let folder: string
const path = (...names: string[]) => join(folder, ...names)

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-reference-'))
  writeTinyModel(path('model'))
  const rows = Array.from({ length: 48 }, (_, i) => ({
    prompt: [{ role: 'user', content: `Bring ${i % 12}.` }],
    completion: [{ role: 'assistant', content: i % 2 ? 'tea' : 'MILK' }],
    label: i % 2 === 0,
  }))
  writeFileSync(path('rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  writeFileSync(
    path('template.jinja'),
    '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}',
  )
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const options = (output: string, more: Partial<TrainOptions> = {}): TrainOptions => ({
  ...quick,
  model: path('model'),
  data: path('rows.jsonl'),
  chatTemplate: path('template.jinja'),
  output: path(output),
  cache: path('cache'),
  epochs: 2,
  evaluation: { split: 0 },
  ...more,
})

async function stepsOf(given: TrainOptions, hooks: Parameters<typeof train>[1] = {}): Promise<StepMetrics[]> {
  const steps: StepMetrics[] = []
  const run = await train(given, hooks)
  for await (const step of run) steps.push(step)
  await run.finished
  return steps
}
const cached = (cache = 'cache') =>
  readdirSync(path(cache, 'reference')).filter((name) => name.endsWith('.safetensors'))

describe('the cache', () => {
  const examples: Example[] = Array.from({ length: 40 }, (_, index) => ({
    index,
    promptGroup: index % 10,
    completionGroup: index,
    prompt: Int32Array.of(1, 2, index % 10),
    completion: Int32Array.from({ length: 1 + (index % 5) }, (_, i) => 5 + index + i),
    desirable: index % 2 === 0,
    origin: { file: 'test', line: index + 1 },
  }))
  const plan = makePlan({ examples, seed: 1, epochs: 2, batchSize: 8, mismatched: true })
  const job = {
    examples,
    plan,
    compute: 'float32',
    microBatchTokens: 64,
    tokens: true,
    pairs: false,
    engine: 'test',
  } as const
  const load = () => loadDecoder(openModelFolder(path('model')), 'float32')

  test('work that was stopped in the reference pass goes on where it was, to the same bits', async () => {
    const whole = await referenceLogps(job, 'w', load, { cache: path('whole') })
    const controller = new AbortController()
    const progressed: number[] = []
    const progress = {
      log() {},
      start: (_total: number, _label: string, done = 0) => ({
        update(now: number) {
          progressed.push(now)
          if (progressed.length === 3) controller.abort(new Error('stopped'))
        },
        stop() {
          progressed.push(-done)
        },
      }),
    }
    const stopped = referenceLogps(job, 'w', load, { cache: path('halves'), progress, signal: controller.signal })
    await expect(stopped).rejects.toThrow('stopped')
    const before = progressed.at(-2)!
    progressed.length = 0
    const resumed = await referenceLogps(job, 'w', load, { cache: path('halves'), progress })
    expect(-progressed.at(-1)!).toBe(before) // it began with all that was done
    expect(resumed).toEqual(whole)
    expect(cached('halves')).toHaveLength(1) // the part is gone
  })

  test('two runs that share a cache do not disturb each other', async () => {
    const [one, other] = await Promise.all([1, 2].map(() => referenceLogps(job, 'w', load, { cache: path('shared') })))
    expect(one).toEqual(other)
    expect(cached('shared')).toHaveLength(1)
    const never = () => {
      throw new Error('the cache has the answer')
    }
    expect(await referenceLogps(job, 'w', never, { cache: path('shared') })).toEqual(one)
  })

  test('a changed byte of weights, template or data is another key; the same run again is none', async () => {
    const keys = async (more: Partial<TrainOptions>, output: string) => {
      await stepsOf(options(output, { ...more, cache: path('keys') }))
      return cached('keys').length
    }
    expect(await keys({}, 'k1')).toBe(1)
    expect(await keys({}, 'k2')).toBe(1)
    expect(await keys({ loss: { type: 'kto', beta: 0.5 }, optimizer: { learningRate: 1e-4 } }, 'k3')).toBe(1) // what it does not depend on
    cpSync(path('model'), path('model-changed'), { recursive: true })
    const weights = readFileSync(path('model-changed', 'model.safetensors'))
    weights[weights.length - 4]! ^= 1
    writeFileSync(path('model-changed', 'model.safetensors'), weights)
    expect(await keys({ model: path('model-changed') }, 'k4')).toBe(2)
    writeFileSync(path('other.jinja'), readFileSync(path('template.jinja'), 'utf8').replaceAll(': ', ':'))
    expect(await keys({ chatTemplate: path('other.jinja') }, 'k5')).toBe(3)
    writeFileSync(path('other.jsonl'), readFileSync(path('rows.jsonl'), 'utf8').replace('tea', 'teb'))
    expect(await keys({ data: path('other.jsonl') }, 'k6')).toBe(4)
  })
})

test('the weights are loaded once: a policy that is not trained yet answers for the reference, also for held-out rows', async () => {
  const labels: string[] = []
  const start = (_: number, label: string) => {
    labels.push(label)
    return { update() {}, stop() {} }
  }
  const progress = { start, log() {} }
  const more = { evaluation: { split: 0.25 }, cache: path('once') }
  await stepsOf(options('cold', more), { progress })
  const loads = () => labels.filter((label) => label.startsWith('weights')).length
  expect(cached('once')).toHaveLength(2)
  expect(loads()).toBe(1)
  await stepsOf(options('warm', more), { progress })
  expect(loads()).toBe(2)
  await stepsOf(options('named', { ...more, cache: path('named-once'), reference: path('model') }), { progress })
  expect(loads()).toBe(4) // one that is named has weights of its own
})

test('a reference that cannot be loaded leaves no run behind: the corrected command runs', async () => {
  const wrong = train(options('corrected', { reference: path('nowhere') }))
  await expect(wrong).rejects.toThrow(/nowhere/)
  expect(await stepsOf(options('corrected'))).not.toHaveLength(0)
})

describe('a reference in memory', () => {
  test('gives the run that the cached one gives', async () => {
    const before = liveTensors()
    const copy = await stepsOf(options('copy', { referenceMode: 'copy' }))
    expect(liveTensors()).toBeLessThanOrEqual(before + 1)
    const cache = await stepsOf(options('cache'))
    expect(copy).toHaveLength(cache.length)
    for (const [i, step] of copy.entries()) {
      expect(step.loss).toBeCloseTo(cache[i]!.loss, 5)
      expect(step.rewards!.chosen!).toBeCloseTo(cache[i]!.rewards!.chosen!, 4)
    }
  })

  test('that becomes the policy sets all rewards back to 0; the frozen one does not', async () => {
    const frozen = await stepsOf(options('frozen', { referenceMode: 'copy' }))
    const synced = await stepsOf(options('synced', { referenceSync: { every: 3, mixing: 1 } }))
    for (const at of [3, 6, 9]) {
      expect(Math.abs(synced[at]!.rewards!.chosen!)).toBeLessThan(1e-4)
      expect(Math.abs(frozen[at]!.rewards!.chosen!)).toBeGreaterThan(1e-3)
      expect(Math.abs(synced[at + 1]!.rewards!.chosen!)).toBeGreaterThan(1e-4)
    }
  })

  test('moves by alpha of the way to the policy, exactly when it is due', () => {
    const trainer = trainerOf(golden('kto/policy'), { type: 'kto' })
    const reference = new LiveReference(loadDecoder(golden('kto/reference'), 'float32'), trainer, {
      every: 4,
      mixing: 0.25,
    })
    expect([1, 2, 3, 4, 5].map((done) => reference.follow(trainer.decoder, done))).toEqual([
      false,
      false,
      false,
      true,
      false,
    ])
    reference.write(folder, writeSafetensors)
    const moved = readSafetensors(path('reference.safetensors')).tensors
    const start = openModelFolder(golden('kto/reference')).tensors
    const name = 'model.layers.0.mlp.up_proj.weight'
    scope(() => {
      const [got, from] = [moved, start].map((tensors) => tensors.get(name)!.load().toArray())
      const to = trainer.decoder.parameters.get(name)!.toArray()
      expect(
        relativeDifference(
          got!,
          from!.map((value, i) => 0.75 * value + 0.25 * to[i]!),
        ),
      ).toBeLessThan(1e-6)
    })
    reference.dispose()
    disposeTrainer(trainer)
  })

  test('that follows the policy resumes bit for bit', async () => {
    const more = { referenceSync: { every: 3, mixing: 0.5 } }
    await stepsOf(options('whole-sync', more))
    const controller = new AbortController()
    const run = await train(options('halves-sync', more), { signal: controller.signal })
    for await (const { step } of run) if (step === 5) controller.abort(new Error('interrupted'))
    await run.finished
    await stepsOf({ model: '', data: [] }, { resume: path('halves-sync') })
    for (const file of ['metrics.jsonl', 'model/model.safetensors'])
      expect(readFileSync(path('halves-sync', file)).equals(readFileSync(path('whole-sync', file))), file).toBe(true)
  })

  test('the choice is shown, and cannot contradict itself', async () => {
    const lines: string[] = []
    const progress = { start: () => ({ update() {}, stop() {} }), log: (line: string) => lines.push(line) }
    await stepsOf(options('shown', { referenceSync: { every: 4 } }), { progress })
    await stepsOf(options('shown-cached', {}), { progress })
    expect(lines).toContain(
      'reference: the starting model, in memory, moved by 0.6 towards the policy after every 4 steps',
    )
    expect(lines).toContain('reference: the starting model, log-probabilities computed ahead and cached')
    const wrong = train(options('wrong', { referenceMode: 'cache', referenceSync: { every: 4 } }))
    await expect(wrong).rejects.toThrow(/referenceMode: cache is not possible with referenceSync\.every/)
  })

  test('reference: none loads no reference and measures rewards against nothing', async () => {
    const steps = await stepsOf(options('none', { reference: 'none', cache: path('no-cache') }))
    expect(steps[0]!.rewards!.chosen!).toBeLessThan(0) // beta times a mean log-probability
    expect(steps[0]!.kl!.value).toBeLessThan(0) // not clamped
    expect(() => readdirSync(path('no-cache', 'reference'))).toThrow()
    const dpo = train(options('none-dpo', { reference: 'none', loss: { type: 'dpo' } }))
    await expect(dpo).rejects.toThrow(/reference: none is not possible: --loss dpo has no such option/)
  })
})
