import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadTokenizer, type Tokenizer } from '../../src/data/tokenizer.ts'
import type { Example } from '../../src/data/types.ts'
import { makeObjective } from '../../src/loss/index.ts'
import { type TrainOptions, trainOptions } from '../../src/train/options.ts'
import { dataWarnings, lossText, prepareData } from '../../src/train/prepare.ts'
import { writeByteTokenizer } from '../tiny-model.ts'

let folder: string
let tokenizer: Tokenizer
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-prepare-'))
  writeByteTokenizer(folder)
  tokenizer = loadTokenizer(folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Forty rows to twenty prompts, one a day, by three people in three regions; a quarter thumbs up. */
const rows = Array.from({ length: 40 }, (_, i) => ({
  prompt: `Question ${i % 20}?`,
  completion: `Answer ${i}.`,
  label: i % 20 < 5,
  weight: 1 + (i % 2),
  annotator: ['jo', 'kim', 'lee'][i % 3],
  time: new Date(Date.UTC(2026, 0, 1 + (i % 20))).toISOString(),
  region: ['north', 'south', 'west'][(i % 20) % 3],
}))

async function prepared(more: Partial<TrainOptions>, records: readonly object[] = rows) {
  const data = join(folder, 'rows.jsonl')
  writeFileSync(data, records.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const given = { model: folder, data, output: join(folder, 'run'), cache: join(folder, 'cache'), ...more }
  const options = trainOptions.parse(given)
  return prepareData(options, makeObjective(options.loss), tokenizer, '')
}

const rowOf = ({ origin }: Example) => rows[origin.line - 1]!
const valuesOf = (examples: readonly Example[], key: keyof (typeof rows)[0]) =>
  new Set(examples.map((e) => rowOf(e)[key]))
const textOf = ({ prompt, completion }: Example) => tokenizer.decode([...prompt, ...completion])

test('options of a reference are named where the objective has none', async () => {
  const warnings = async (type: 'sft' | 'kto') => {
    const data = await prepared({ loss: { type } })
    const given = { referenceMode: 'copy', referenceSync: { mixing: 0.6 }, reference: undefined } as const
    return dataWarnings(data, makeObjective({ type }), given, { maxPositions: 2048 })
  }
  expect(await warnings('sft')).toEqual(['--reference-mode copy: sft uses no reference model'])
  expect(await warnings('kto')).toEqual([])
})

test('what is cut and what is skipped is said', async () => {
  const { facts } = await prepared({ maxLength: 16, maxPromptLength: 12, onBadRow: 'skip' }, [
    ...rows,
    { prompt: 'no more' },
  ])
  const [source] = facts.sources as Parameters<typeof lossText>[0][]
  const [cut, skipped] = lossText(source!, 16)
  expect(cut).toMatch(/^\d+ prompts and 40 completions were cut to --max-length 16, the first of them /)
  expect(skipped).toMatch(/^1 records or rows were skipped .*rows\.jsonl:41/)
  const { facts: whole } = await prepared({})
  expect(lossText(whole.sources[0] as never, 2048)).toEqual([])
})

test('by default whole prompts are held out, thumbs up and down in their shares', async () => {
  const { train, heldOut } = await prepared({ evaluation: { split: 0.4 } })
  expect([train.length, heldOut.length]).toEqual([24, 16])
  for (const prompt of valuesOf(heldOut, 'prompt')) expect(valuesOf(train, 'prompt').has(prompt)).toBe(false)
  expect(heldOut.filter(({ desirable }) => desirable)).toHaveLength(4)
})

test('--eval-rows draws so many of the held-out rows, both labels in their shares, another draw for another seed', async () => {
  const drawn = async (seed: number) => {
    const { heldOut, facts } = await prepared({ evaluation: { split: 0.4, rows: 8 }, seed })
    expect(facts.heldOut).toMatchObject({ rows: 8, of: 16, desirable: 2, undesirable: 6 })
    return heldOut.map(({ origin }) => origin.line).join()
  }
  const draws = [await drawn(1), await drawn(2), await drawn(3), await drawn(4)]
  expect(new Set(draws).size).toBe(4)
  expect(await drawn(1)).toBe(draws[0])
})

test('--split-by time holds out the newest prompts', async () => {
  const { train, heldOut } = await prepared({ evaluation: { split: 0.25 }, feedback: { splitBy: 'time' } })
  expect([...valuesOf(heldOut, 'time')].sort()).toEqual(
    [16, 17, 18, 19, 20].map((day) => new Date(Date.UTC(2026, 0, day)).toISOString()),
  )
  expect(train).toHaveLength(30)
})

test('--split-by a column holds out whole values of it', async () => {
  const { train, heldOut } = await prepared({ evaluation: { split: 0.3 }, feedback: { splitBy: 'region' } })
  expect(valuesOf(heldOut, 'region').size).toBe(1)
  expect(valuesOf(train, 'region').size).toBe(2)
  expect(train.length + heldOut.length).toBe(40)
})

test('a row without the time or the column that the split goes by is named', async () => {
  const without = rows.map(({ time: _, region: __, ...row }) => row)
  const by = (splitBy: string) => prepared({ feedback: { splitBy } }, without)
  await expect(by('time')).rejects.toThrow(/rows\.jsonl:1: no time, and --split-by time is set/)
  await expect(by('region')).rejects.toThrow(/rows\.jsonl:1: no region, and --split-by region is set/)
})

test("a row's own weight, its annotator's and its age multiply, and reach the plan's examples", async () => {
  const { train, facts } = await prepared({
    evaluation: { split: 0 },
    feedback: { annotatorWeights: 'jo=2,kim=0.5', halfLife: 7 },
  })
  for (const example of train) {
    const { weight, annotator, time } = rowOf(example)
    const days = (Date.UTC(2026, 0, 20) - Date.parse(time)) / 86_400_000
    const byAnnotator = { jo: 2, kim: 0.5, lee: 1 }[annotator as 'jo']
    expect(example.weight).toBeCloseTo(weight * byAnnotator * 2 ** (-days / 7), 6)
  }
  const sum = train.reduce((total, { weight = 1 }) => total + weight, 0)
  expect(facts.train.desirableWeight + facts.train.undesirableWeight).toBeCloseTo(sum, 6)
})

test('rows of --eval-data are read and cleaned as those to train on, and neither thinned nor weighted', async () => {
  const feedback = { keepDesirable: 0.2, keepUndesirable: 0.1, limit: 30, annotatorWeights: 'jo=2', halfLife: 1 }
  const data = join(folder, 'test.jsonl')
  const others = rows.map(({ annotator: _, time: __, ...row }) => row)
  writeFileSync(data, [...others, ...others.slice(0, 2)].map((row) => `${JSON.stringify(row)}\n`).join(''))
  const { train, heldOut } = await prepared({
    evaluation: { data, rows: 0 },
    feedback: { ...feedback, duplicates: 'drop' },
  })
  expect(train.length).toBeLessThan(8)
  expect(heldOut).toHaveLength(40)
  for (const example of heldOut) expect(example.weight).toBe(rowOf(example).weight)
})

test('--personal mask hides addresses from the model, --personal drop the rows that hold them; both count them', async () => {
  const records = [...rows, { ...rows[0]!, completion: 'Write to jo@example.org.' }]
  const all = async (personal: 'keep' | 'mask' | 'drop') => {
    const { train, facts } = await prepared({ evaluation: { split: 0 }, feedback: { personal } }, records)
    const [{ findings }] = facts.sources as [{ findings: { email: { found: number; dropped: number } } }]
    return { texts: train.map(textOf).join('\n'), rows: train.length, ...findings.email }
  }
  expect(await all('keep')).toMatchObject({ texts: expect.stringContaining('jo@example.org'), rows: 41, found: 1 })
  const masked = await all('mask')
  expect(masked).toMatchObject({ rows: 41, texts: expect.stringContaining('Write to [email].') })
  expect(masked.texts).not.toContain('@')
  expect(await all('drop')).toMatchObject({ rows: 40, found: 1, dropped: 1 })
})
