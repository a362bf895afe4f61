import { expect, test } from 'vitest'
import { parseLabelMap } from '../../../src/data/labels.ts'
import { shapes } from '../../../src/data/shapes/index.ts'
import { shapeNames } from '../../../src/options/feedback-syntax.ts'
import { assistant, readRecords, user } from './read-records.ts'

test('kto-mix-14k: prompt and completion as messages', async () => {
  const { judged } = await readRecords([{ prompt: [user('Hi')], completion: [assistant('yo')], label: true }])
  expect(judged).toEqual([[[user('Hi')], [assistant('yo')], true]])
})

test('kto-mix-15k: a completion that repeats the conversation loses what came before the reply', async () => {
  const completion = [user('Q'), assistant('A'), user('More'), assistant('B')]
  const { judged } = await readRecords([{ prompt: 'Q', completion, label: true }])
  expect(judged).toEqual([[completion.slice(0, 3), [assistant('B')], true]])
  await expect(readRecords([{ prompt: 'Other', completion, label: true }])).rejects.toThrow(
    /rows\.jsonl:1: completion begins with other messages than those of prompt/,
  )
})

test('weight, annotator, time and tools of a row come along; a weight that is none is an error', async () => {
  const base = { prompt: 'p', completion: 'c', label: 1 }
  const { rows } = await readRecords([
    { ...base, weight: 0.5, annotator: 'a', timestamp: 1_700_000_000, tools: [{ name: 't' }] },
  ])
  expect(rows[0]).toMatchObject({ weight: 0.5, annotator: 'a', time: 1_700_000_000_000, tools: [{ name: 't' }] })
  await expect(readRecords([{ ...base, weight: -1 }])).rejects.toThrow(
    /weight is -1; expected a number that is not negative/,
  )
})

test('a forced shape is the only one, and its errors say what is missing', async () => {
  const record = { prompt: 'p', completion: 'c', label: true, score: 0 }
  expect((await readRecords([record])).rows[0]!.label).toBe(true)
  expect((await readRecords([record], { shape: 'scored' })).rows[0]!.label).toBe(false)
  await expect(readRecords([record], { shape: 'edits' })).rejects.toThrow(/edited is missing; the row has prompt/)
})

test('labels without an opinion are left out and counted', async () => {
  const records = ['up', 'meh', 'down'].map((label) => ({ prompt: 'p', completion: label, label }))
  const { rows, facts } = await readRecords(records, { labels: parseLabelMap('meh=skip') })
  expect(rows.map(({ label }) => label)).toEqual([true, false])
  expect(facts).toMatchObject({ records: 3, used: 2, leftOut: { 'no opinion': 1 } })
})

test('the names of shapes that options know are those that there are readers for', () => {
  expect(shapes.map(({ name }) => name)).toEqual([...shapeNames])
})

test('0 and -1 in one file is a question, not a bad row that could be skipped', async () => {
  const records = [1, 0, -1].map((label) => ({ prompt: 'p', completion: 'c', label }))
  await expect(readRecords(records, { onBadRow: 'skip' })).rejects.toThrow(/rows\.jsonl:3: label is both 0 and -1/)
  expect((await readRecords(records, { labels: parseLabelMap('0=skip') })).rows.map(({ label }) => label)).toEqual([
    true,
    false,
  ])
})

test('rows with ids, names and ratings beside their texts are rows, not judgements of other files', async () => {
  const ids = { id: 'm', conversation_id: 'c', run_id: 'r', trace_id: 't', name: 'n', source: 's', key: 'k', value: 1 }
  const { facts } = await readRecords([{ ...ids, prompt: 'p', completion: 'c', label: 1, rating: 5, score: 1 }])
  expect(facts.shapes).toEqual({ unpaired: 1 })
})
