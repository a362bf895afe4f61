import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { reproduceOptions } from '../../src/reproduce/options.ts'
import { reproduce } from '../../src/reproduce/reproduce.ts'
import { writeTinyModel } from '../tiny-model.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-reproduce-'))
  writeTinyModel(join(folder, 'model'))
  const rows = Array.from({ length: 80 }, (_, i) => ({
    prompt: `q${i >> 1}`,
    completion: i % 2 ? 'aaaa' : 'zzzz',
    label: i % 2 === 1,
  }))
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const training = 'precision: float32\nbatch_size: 8\nepochs: 2\noptimizer:\n  learning_rate: 0.003\n'
  writeFileSync(join(folder, 'training.yaml'), training)
})
afterAll(() => rmSync(folder, { recursive: true }))

async function run(experiment: string, more: object = {}) {
  const trained: string[] = []
  const progress = {
    start: (_: number, name: string) => {
      trained.push(name)
      return { update: () => {}, stop: () => {} }
    },
    log: () => {},
  }
  const options = reproduceOptions.parse({
    ...{ experiment, seeds: 2, output: join(folder, 'out'), threads: 1 },
    ...{ model: join(folder, 'model'), data: join(folder, 'rows.jsonl'), training: join(folder, 'training.yaml') },
    ...more,
  })
  return { results: await reproduce(options, { progress }), trained }
}

test("an experiment on the user's files: arms learn to tell thumbs apart, and what is done is not done again", async () => {
  const { results, trained } = await run('one-y-per-x')
  const [result] = results
  expect(result!.measure).toBe('area under the ROC curve')
  for (const { value, seeds } of result!.arms) {
    expect(value).toBeGreaterThan(0.9)
    expect(seeds).toHaveLength(2)
  }
  // 40 prompts, of which 8 are held out: 64 rows, 32 of one y per x, and 32 pairs.
  expect(result!.arms.map(({ rows }) => rows)).toEqual([64, 32, 64])
  expect(trained).toContain('KTO, all replies')
  for (const ending of ['svg', 'png']) expect(existsSync(join(folder, `out/one-y-per-x.${ending}`))).toBe(true)
  expect(readFileSync(join(folder, 'out/one-y-per-x.svg'), 'utf8')).toContain('paper: win rate')

  const again = await run('one-y-per-x')
  expect(again.trained.filter((name) => !name.startsWith('hash of the weights'))).toEqual([])
  expect(again.results).toEqual(results)
})

test('with a judge, replies are compared with the thumbs-up ones; arms with the same settings are shared between experiments', async () => {
  const judge = join(folder, 'judge.mjs')
  writeFileSync(
    judge,
    'export default ({ completion }) => completion.split("a").length - completion.split("z").length\n',
  )
  const given = { judge, maxTokens: 4, seeds: 1 }
  const { results } = await run('contradictory', given)
  const [kto, dpo] = results[0]!.arms
  expect(kto!.rows).toBe(3 * 64)
  expect(kto!.low).toBeLessThanOrEqual(kto!.value)
  expect(dpo!.high).toBeLessThanOrEqual(1)

  await run('one-y-per-x', given)
  const { trained } = await run('noise', given) // without wrong thumbs it is KTO and DPO as there
  expect(trained).not.toContain('KTO, 0 % wrong')
  expect(trained).toContain('KTO, 10 % wrong')

  writeFileSync(judge, 'export default ({ completion }) => completion.length\n')
  const { trained: again } = await run('noise', { ...given, only: ['KTO'] })
  expect(again).toContain('KTO, 0 % wrong') // another program is another judge
})

test('only some methods: their arms and the differences between them; one that no experiment has is refused', async () => {
  const { results } = await run('ablations', { only: ['KTO', 'no reference'], seeds: 1 })
  expect(results[0]!.arms.map(({ name }) => name)).toEqual(['KTO', 'no reference', 'KTO, 10 x rate'])
  expect(results[0]!.differences).toEqual([]) // one seed, and no points of single questions
  const { results: tuning } = await run('learning-rates-after-sft', { only: ['SFT+KTO'], seeds: 1 })
  expect(tuning[0]!.arms.map(({ name }) => name)).toEqual([0.03, 0.1, 0.3, 1, 3].map((rate) => `SFT+KTO, ${rate} x`))
  await expect(run('noise', { only: ['PPO'] })).rejects.toThrow('--only PPO: noise has no such method; it has KTO, DPO')
})

test('sizes are the models that are given', async () => {
  writeTinyModel(join(folder, 'other'), 1)
  const { results } = await run('sizes', { model: [join(folder, 'model'), join(folder, 'other')], seeds: 1 })
  const arms = Object.fromEntries(results[0]!.arms.map(({ name, value }) => [name, value]))
  expect(Object.keys(arms)).toContain('SFT+KTO, other')
  expect(arms['base, other']).toBe(0.5)
  expect(arms['KTO, other']).toBeGreaterThan(0.9)
})

test('models whose folders have one name are told apart, and one that is given twice is refused', async () => {
  const places = ['one', 'two'].map((name, i) => writeTinyModel(join(folder, name, 'model'), i))
  const { results } = await run('sizes', { model: places, seeds: 1, only: ['base'] })
  expect(results[0]!.arms.map(({ name }) => name)).toEqual(places.map((place) => `base, ${place}`))
  await expect(run('sizes', { model: [places[0]!, places[0]!] })).rejects.toThrow(/is given twice/)
})

test('feedback is read as the training options say', async () => {
  const file = join(folder, 'stars.jsonl')
  const rows = readFileSync(join(folder, 'rows.jsonl'), 'utf8').trim().split('\n')
  const starred = rows.map((text) => {
    const { label, ...row } = JSON.parse(text) as { label: boolean }
    return JSON.stringify({ ...row, stars: label ? 5 : 2 })
  })
  writeFileSync(file, `${starred.join('\n')}\n`)
  const base = readFileSync(join(folder, 'training.yaml'), 'utf8')
  writeFileSync(join(folder, 'stars.yaml'), `${base}\nfeedback: { threshold: "4" }\n`)
  const { results } = await run('one-y-per-x', {
    data: [file],
    training: join(folder, 'stars.yaml'),
    seeds: 1,
    only: ['KTO'],
  })
  expect(results[0]!.arms[0]!.value).toBeGreaterThan(0.9)
})

test('a model without data is refused', () => {
  expect(reproduceOptions.safeParse({ model: 'm' }).error!.message).toContain('--model and --data go together')
  expect(reproduceOptions.safeParse({ judge: 'exact' }).error!.message).toContain('for your own --model')
})
