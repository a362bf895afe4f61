import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodePrompt, tokenizeRows } from '../../src/data/tokenize.ts'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { train } from '../../src/index.ts'
import { type LossOptions, makeObjective } from '../../src/loss/index.ts'
import { objectiveNames } from '../../src/loss/table.ts'
import { openModelFolder } from '../../src/model/folder.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { liveTensors, scope } from '../../src/tensor/scope.ts'
import { Critic } from '../../src/train/critic.ts'
import { type TrainOptions, trainOptions } from '../../src/train/options.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { finish, quick } from './runs.ts'

let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-objectives-'))
  writeTinyModel(join(folder, 'model'))
  // Capitals are good: something a tiny model can learn.
  const pairs = Array.from({ length: 24 }, (_, i) => {
    const word = ['tea', 'milk', 'juice', 'water'][i % 4]!
    return { prompt: `Bring ${word} ${i % 12}. `, chosen: word.toUpperCase(), rejected: `${word} now` }
  })
  writeFileSync(join(folder, 'pairs.jsonl'), pairs.map((row) => `${JSON.stringify(row)}\n`).join(''))
  await finish(options({ type: 'kto' }, 'warm')) // what is made once and stays
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const options = (loss: LossOptions, output: string, more: Partial<TrainOptions> = {}): TrainOptions => ({
  ...quick,
  model: join(folder, 'model'),
  data: join(folder, 'pairs.jsonl'),
  output: join(folder, output),
  cache: join(folder, 'cache'),
  loss,
  epochs: 3,
  evaluation: { split: 0.2 },
  ...more,
})

const bytes = (...path: string[]) => readFileSync(join(folder, ...path))

const variants: LossOptions[] = [
  ...objectiveNames.map((type) => ({ type })),
  { type: 'kto', valueFunction: 'kahneman-tversky' },
  { type: 'kto', referencePoint: 'moving-average' },
  { type: 'kto', referencePoint: 'all-pairs', referencePointBlock: 3 },
  { type: 'kto', referenceFree: true },
  { type: 'kto', humanline: true },
]
const title = ({ type, ...others }: LossOptions) => [type, ...Object.entries(others).flat()].join('-')

describe.each(variants.map((loss) => [title(loss), loss] as const))('%s', (name, loss) => {
  test('learns to tell good from bad on held-out rows, and leaves no tensors behind', async () => {
    const before = liveTensors()
    const { steps, summary } = await finish(options(loss, name))
    expect(liveTensors()).toBe(before)
    const objective = makeObjective(loss)
    if (objective.needs.reference) expect(steps[0]!.rewards).toMatchObject({ chosen: 0, rejected: 0 })
    const { before: first, after } = summary.evaluation!
    if (after.rewards) expect(after.rewards.margin!).toBeGreaterThan(first.rewards!.margin!)
    else expect(after.loss).toBeLessThan(first.loss)
  })

  test('interrupted and resumed, ends in the same bytes', async () => {
    const controller = new AbortController()
    const run = await train(options(loss, `${name}-halves`), { signal: controller.signal })
    for await (const { step } of run) if (step === 6) controller.abort(new Error('interrupted'))
    expect((await run.finished).model).toBeNull()
    await finish({ model: '', data: [] }, { resume: join(folder, `${name}-halves`) })
    for (const file of ['metrics.jsonl', 'evaluation.jsonl', 'model/model.safetensors'])
      expect(bytes(`${name}-halves`, file).equals(bytes(name, file)), file).toBe(true)
  })
})

describe('a value head', () => {
  const head = (run: string) => readSafetensors(join(folder, run, 'value-head.safetensors')).tensors

  test('is learnt, resumed bit for bit, and lies beside the model, whose folder is a plain one', () => {
    expect([...head('ppo-value').keys()]).toHaveLength(6)
    expect(bytes('ppo-value-halves', 'value-head.safetensors')).toEqual(bytes('ppo-value', 'value-head.safetensors'))
    const files = (run: string) => readdirSync(join(folder, run, 'model')).sort()
    expect(files('ppo-value')).toEqual(files('ppo'))
    expect([...openModelFolder(join(folder, 'ppo-value/model')).tensors.keys()].sort()).toEqual(
      [...openModelFolder(join(folder, 'model')).tensors.keys()].sort(),
    )
    const learnt = scope(() => head('ppo-value').get('summary.6.bias')!.load().toArray())
    const { config } = openModelFolder(join(folder, 'model'))
    const fresh = new Critic({ config, device: 'cpu' }, 0, trainOptions.shape.optimizer.parse({}))
    expect(learnt).not.toEqual(scope(() => fresh.head.parameters.get('summary.6.bias')!.toArray()))
    fresh.dispose()
  })

  test('learns beside an adapter, with activations kept or computed again', async () => {
    const adapted = (output: string, gradientCheckpointing: boolean) =>
      finish(options({ type: 'ppo-value' }, output, { adapter: { type: 'lora', rank: 4 }, gradientCheckpointing }))
    const [kept, again] = [await adapted('adapted', false), await adapted('adapted-again', true)]
    expect(again.steps.at(-1)!.loss).toBeCloseTo(kept.steps.at(-1)!.loss, 5)
    expect(kept.summary.evaluation!.after.rewards!.margin!).toBeGreaterThan(0.1)
    expect(readdirSync(join(folder, 'adapted'))).toContain('value-head.safetensors')
  })
})

describe('paired objectives', () => {
  test('refuse data without pairs, and say what to do', async () => {
    const file = join(folder, 'single.jsonl')
    writeFileSync(
      file,
      '{"prompt": "a", "completion": "b", "label": true}\n{"prompt": "a", "completion": "c", "label": false}\n',
    )
    const run = train({ ...options({ type: 'dpo' }, 'single'), data: file })
    await expect(run).rejects.toThrow(
      /single\.jsonl: no pairs, and dpo compares.*\{prompt, chosen, rejected\}.*--loss kto/,
    )
  })

  test('leave rows without a partner out, and say how many', async () => {
    const file = join(folder, 'mixed.jsonl')
    writeFileSync(file, `${bytes('pairs.jsonl')}{"prompt": "a", "completion": "b", "label": true}\n`)
    const lines: string[] = []
    const progress = { start: () => ({ update() {}, stop() {} }), log: (line: string) => lines.push(line) }
    await finish({ ...options({ type: 'dpo' }, 'mixed'), data: file }, { progress })
    expect(lines.join('\n')).toMatch(/1 rows are left out: they are no half of a pair/)
    expect(JSON.parse(String(bytes('mixed', 'data.json'))).sources[0].unpaired).toBe(1)
  })
})

describe('weights', () => {
  const rowsFile = (rows: object[]) => {
    const file = join(folder, 'weighted.jsonl')
    writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    return file
  }
  const rows = (weight?: number) =>
    Array.from({ length: 16 }, (_, i) => ({
      prompt: `Bring ${i}. `,
      completion: i % 2 ? 'tea' : 'TEA',
      label: i % 4 === 0,
      weight,
    }))
  const whole = {
    evaluation: { split: 0 },
    optimizer: { learningRate: 3e-3, maxGradNorm: 0 },
    epochs: 1,
    batchSize: 16,
  }

  test("a row's own weight multiplies its loss", async () => {
    const { steps: plain } = await finish({ ...options({ type: 'kto' }, 'plain', whole), data: rowsFile(rows()) })
    const { steps: heavy } = await finish({ ...options({ type: 'kto' }, 'heavy', whole), data: rowsFile(rows(2)) })
    expect(heavy[0]!.loss).toBeCloseTo(2 * plain[0]!.loss, 6)
    expect(heavy[0]!.gradNorm / plain[0]!.gradNorm).toBeCloseTo(2, 4)
  })

  test('a weight of 0 takes a row out of the gradient; one that is no weight is refused by file and line', async () => {
    const { steps } = await finish({ ...options({ type: 'kto' }, 'nothing', whole), data: rowsFile(rows(0)) })
    expect(steps[0]).toMatchObject({ loss: 0, gradNorm: 0 })
    const bad = train({ ...options({ type: 'kto' }, 'bad', whole), data: rowsFile([{ ...rows()[0], weight: -1 }]) })
    await expect(bad).rejects.toThrow(/weighted\.jsonl:1: weight is -1; expected a number that is not negative/)
  })

  test('auto balances the two kinds, says so, and counts rows by their weights', async () => {
    const lines: string[] = []
    const progress = { start: () => ({ update() {}, stop() {} }), log: (line: string) => lines.push(line) }
    const auto: LossOptions = { type: 'kto', desirableWeight: 'auto', undesirableWeight: 'auto' }
    const { steps } = await finish({ ...options(auto, 'auto', whole), data: rowsFile(rows()) }, { progress })
    expect(lines.join('\n')).toMatch(
      /desirable weight 3, undesirable weight 1: .* is 1, was 0\.3333 \(advised: 1 to 1\.5\)/,
    )
    expect(steps[0]!.loss).toBeCloseTo((4 * 3 * 0.5 + 12 * 0.5) / 16, 6)
  })
})

describe('control tokens', () => {
  test('that the tokenizer does not tell apart are refused', async () => {
    const alike = train(options({ type: 'csft', desirableControl: '[x]', undesirableControl: '[x]' }, 'alike'))
    await expect(alike).rejects.toThrow(/loss\.desirableControl.*"\[x\]" and "\[x\]" are the same tokens/)
  })

  test('are not to be cut off', async () => {
    const cut = train(options({ type: 'csft' }, 'cut', { feedback: { truncate: 'prompt-end' } }))
    await expect(cut).rejects.toThrow(/prompt-end would cut off what csft appends/)
  })

  test('follow the prompt by label in training, and the good one follows every prompt of the trained model', async () => {
    await finish(options({ type: 'csft', desirableControl: '[+]', undesirableControl: '[-]' }, 'controlled'))
    const [before, after] = [join(folder, 'model'), join(folder, 'controlled', 'model')].map((path) =>
      loadTokenizer(path),
    )
    expect(before!.control).toBeNull()
    expect(after!.control).toBe('[+]')
    const asked = after!.decode(encodePrompt('Bring tea 1. ', after!), { skipSpecial: true })
    expect(asked).toBe('Bring tea 1. [+]')
    const rows = [true, false].map((label, i) => ({
      prompt: 'Bring tea 1. ',
      completion: 'tea',
      label,
      origin: { file: 'x', line: i },
    }))
    const adapter = { type: 'lora', rank: 2 } as const
    await finish(options({ type: 'csft', desirableControl: '[+]' }, 'controlled-adapter', { adapter, maxSteps: 1 }))
    expect(loadTokenizer(join(folder, 'controlled-adapter', 'adapter')).control).toBe('[+]')
    const limits = { maxLength: 99, maxPromptLength: 99, strict: false, onBadRow: 'error' } as const
    const control = { desirable: '[+]', undesirable: '[-]' }
    // Also where the model that is trained has a control text already: it is replaced, not doubled.
    for (const tokenizer of [before!, after!]) {
      const { examples } = await tokenizeRows(rows, tokenizer, { ...limits, control })
      const prompts = examples.map(({ prompt }) => tokenizer.decode(prompt, { skipSpecial: true }))
      expect(prompts).toEqual(['Bring tea 1. [+]', 'Bring tea 1. [-]'])
      for (const { completion } of examples) expect(tokenizer.decode(completion, { skipSpecial: true })).toBe('tea')
    }
  })
})
