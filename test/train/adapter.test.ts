import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generate, generateOptions, train } from '../../src/index.ts'
import { openAdapterFolder } from '../../src/model/adapters/folder.ts'
import { validate } from '../../src/options/validate.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { liveTensors } from '../../src/tensor/scope.ts'
import type { TrainOptions } from '../../src/train/options.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { capitalRows, finish, quick, writeRows } from './runs.ts'

let folder: string
let model: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-adapter-'))
  model = writeTinyModel(join(folder, 'model'))
  writeRows(join(folder, 'rows.jsonl'), capitalRows())
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const options = (output: string, more: Partial<TrainOptions> = {}): TrainOptions => ({
  ...quick,
  model,
  data: join(folder, 'rows.jsonl'),
  output: join(folder, output),
  cache: join(folder, 'cache'),
  epochs: 2,
  optimizer: { learningRate: 1e-2 },
  evaluation: { split: 0.2 },
  samples: { prompts: 1, maxTokens: 4 },
  adapter: { type: 'lora', rank: 4 },
  ...more,
})

const text = (...path: string[]) => readFileSync(join(folder, ...path), 'utf8')
const bytes = (...path: string[]) => readFileSync(join(folder, ...path))

async function reply(more: Parameters<typeof generate>[0] | object): Promise<string[]> {
  const given = { prompt: 'Bring tea 0. ', maxTokens: 8, greedy: true, precision: 'float32', ...more }
  const replies: string[] = []
  for await (const { completion } of generate(validate(generateOptions, given))) replies.push(completion)
  return replies
}

describe('a run with an adapter', () => {
  test('starts from rewards of exactly 0, learns, and writes an adapter that PEFT reads', async () => {
    await finish(options('warm-up', { maxSteps: 1 })) // the causal mask is kept
    const before = liveTensors()
    const { steps, summary } = await finish(options('learns', { epochs: 6 }))
    expect(liveTensors()).toBe(before)
    expect(steps[0]!.rewards).toMatchObject({ chosen: 0, rejected: 0 })
    expect(steps[0]!.loss).toBe(0.5)
    expect(summary.evaluation!.before.rewards!.margin).toBe(0)
    expect(summary.evaluation!.after.areaUnderCurve).toBeGreaterThan(0.9)
    expect(summary.model).toBe(join(folder, 'learns', 'adapter'))
    expect(existsSync(join(folder, 'learns', 'model'))).toBe(false)
    expect(readdirSync(summary.model!).sort()).toEqual(
      [
        'README.md',
        'adapter_config.json',
        'adapter_model.safetensors',
        'tokenizer.json',
        'tokenizer_config.json',
      ].sort(),
    )
    expect(JSON.parse(text('learns', 'adapter', 'adapter_config.json'))).toMatchObject({
      peft_type: 'LORA',
      task_type: 'CAUSAL_LM',
      base_model_name_or_path: model,
      r: 4,
      lora_alpha: 8,
      target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
    })
    const { tensors } = readSafetensors(join(summary.model!, 'adapter_model.safetensors'))
    expect(tensors.size).toBe(2 * 7 * 2)
    const shape = (part: string) => tensors.get(`base_model.model.model.layers.1.mlp.down_proj.${part}.weight`)!.shape
    expect([shape('lora_A'), shape('lora_B')]).toEqual([
      [4, 64],
      [32, 4],
    ])
  })

  test('answers as it was trained, from its folder alone or put on the base', async () => {
    const adapter = join(folder, 'learns', 'adapter')
    const alone = await reply({ model: adapter })
    expect(alone).toEqual(await reply({ model, adapter }))
    expect(alone).not.toEqual(await reply({ model }))
    expect(alone[0]).toMatch(/^[A-Z]+$/) // it learned capitals
  })

  test.each([
    ['lora', { type: 'lora', rank: 4, dropout: 0.2, modulesToSave: ['norm'] }],
    ['dora', { type: 'dora', rank: 2, targetModules: ['q_proj', 'down_proj'], rslora: true }],
  ] as const)('%s: interrupted and resumed ends in the same bytes as an undisturbed one', async (name, adapter) => {
    const given = (output: string) =>
      options(`${name}-${output}`, {
        adapter: structuredClone(adapter) as unknown as TrainOptions['adapter'],
        gradientCheckpointing: true,
        ...(name === 'dora' && { referenceSync: { every: 3, mixing: 0.6 } }), // the reference follows
      })
    await finish(given('whole'))
    const controller = new AbortController()
    const run = await train(given('halves'), { signal: controller.signal })
    for await (const { step } of run) if (step === 5) controller.abort(new Error('interrupted'))
    expect((await run.finished).model).toBeNull()
    const checkpoint = join(folder, `${name}-halves`, 'checkpoints', 'latest')
    expect(readdirSync(checkpoint)).not.toContain('model.safetensors')
    const { summary } = await finish({ model: '', data: [] }, { resume: join(folder, `${name}-halves`) })
    expect(summary.model).toBe(join(folder, `${name}-halves`, 'adapter'))
    for (const file of ['metrics.jsonl', 'evaluation.jsonl'])
      expect(text(`${name}-halves`, file)).toBe(text(`${name}-whole`, file))
    const weights = ['adapter', 'adapter_model.safetensors']
    expect(bytes(`${name}-halves`, ...weights)).toEqual(bytes(`${name}-whole`, ...weights))
    await expect(train({ model: '', data: [] }, { resume: join(folder, `${name}-halves`) })).rejects.toThrow(
      /is complete/,
    )
  })

  test('that continues an adapter has this adapter, frozen, as its reference', async () => {
    const adapter = join(folder, 'learns', 'adapter')
    const { steps, summary } = await finish(options('continued', { model: adapter, adapter: {} }))
    expect(steps[0]!.rewards).toMatchObject({ chosen: 0, rejected: 0 })
    expect(steps.at(-1)!.rewards!.margin).toBeGreaterThan(0.01)
    expect(openAdapterFolder(summary.model!).config).toEqual(openAdapterFolder(adapter).config)
    // With the bare base as reference the adapter's rewards are there from the start.
    const against = await finish(options('against-base', { model: adapter, adapter: {}, reference: model }))
    expect(against.steps[0]!.rewards!.margin).toBeGreaterThan(0.1)
  })

  test('continues an adapter that was trained with dropout', async () => {
    const { summary } = await finish(options('dropped', { adapter: { type: 'lora', rank: 4, dropout: 0.3 } }))
    const { steps } = await finish(options('dropped-on', { model: summary.model!, adapter: {}, maxSteps: 2 }))
    expect(steps).toHaveLength(2)
  })

  test('reads the weights once, with a bar: its reference is the same base with the adapter off', async () => {
    const bars: string[] = []
    const start = (_total: number, label: string) => {
      bars.push(label)
      return { update() {}, stop() {} }
    }
    const progress = { log() {}, start }
    await finish(options('read-once', { maxSteps: 1, cache: join(folder, 'read-once-cache') }), { progress })
    expect(bars.filter((label) => label.startsWith('weights'))).toHaveLength(1)
    expect(bars.some((label) => label.startsWith('reference'))).toBe(true)
  })

  test('whose reference follows moves the adapter alone', async () => {
    const more = { referenceSync: { every: 2, mixing: 1 }, checkpoint: { every: 4 } }
    const stored = bytes('model', 'model.safetensors')
    const controller = new AbortController()
    const run = await train(options('follows', more), { signal: controller.signal })
    const rewards: number[] = []
    for await (const step of run) {
      rewards.push(Math.abs(step.rewards!.chosen!))
      if (step.step === 5) controller.abort(new Error('interrupted'))
    }
    await run.finished
    for (const [step, reward] of rewards.entries())
      if (step % 2 === 0) expect(reward, `step ${step}`).toBeLessThan(1e-5)
      else expect(reward, `step ${step}`).toBeGreaterThan(1e-5)
    const { tensors } = readSafetensors(join(folder, 'follows', 'checkpoints', 'latest', 'reference.safetensors'))
    expect([...tensors.keys()].every((name) => name.includes('.lora_'))).toBe(true)
    expect(tensors.size).toBe(2 * 7 * 2)
    expect(bytes('model', 'model.safetensors')).toEqual(stored)
  })

  test('takes an adapter as the reference of a full run', async () => {
    const { steps } = await finish(
      options('full', { adapter: {}, reference: join(folder, 'learns', 'adapter'), maxSteps: 1 }),
    )
    expect(steps[0]!.rewards!.margin).toBeLessThan(-0.1)
  })

  test('whose weights are others cannot follow a full run', async () => {
    const reference = join(folder, 'learns', 'adapter')
    const run = train(options('no-follower', { adapter: {}, reference, referenceSync: { every: 2 } }))
    await expect(run).rejects.toThrow(/referenceSync\.every: .*adapter cannot follow the policy/)
  })
})

describe.each(['4bit', '8bit'] as const)('with a base model in %s', (loadIn) => {
  test('the reference is the quantised base, and the adapter learns and answers', async () => {
    const { steps, summary } = await finish(options(loadIn, { loadIn, epochs: 6 }))
    expect(steps[0]!.rewards).toMatchObject({ chosen: 0, rejected: 0 })
    expect(summary.evaluation!.after.areaUnderCurve).toBeGreaterThan(0.9)
    expect((await reply({ model: summary.model, loadIn }))[0]).toMatch(/^[A-Z]+$/)
  })
})

describe('options that contradict each other', () => {
  test.each([
    [{ adapter: {}, loadIn: '4bit' }, /loadIn: only a frozen base model can be stored in 4bit/],
    [{ adapter: { type: 'none', rank: 4 } }, /adapter.type: none, but other options/],
    [{ adapter: { rank: 4, targetModules: 'wq' } }, /target modules wq: the model has none of that name/],
    [{ base: 'elsewhere' }, /no adapter, so it has no base model/],
  ] as [Partial<TrainOptions>, RegExp][])('%j', async (change, message) => {
    await expect(train(options('contradiction', change))).rejects.toThrow(message)
    expect(existsSync(join(folder, 'contradiction'))).toBe(false)
  })

  test('an adapter is continued as it is', async () => {
    const given = options('reshaped', { model: join(folder, 'learns', 'adapter'), adapter: { rank: 8 } })
    await expect(train(given)).rejects.toThrow(/adapter.rank: .* is an adapter, which is continued as it is/)
  })
})
