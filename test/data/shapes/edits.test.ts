import { expect, test } from 'vitest'
import { readRecords } from './read-records.ts'

test("edits: the corrected text is desirable, the model's own undesirable", async () => {
  const { judged, facts } = await readRecords([
    { prompt: 'p', completion: 'teh', edited: 'the' },
    { prompt: 'p', completion: 'same', edited: 'same' },
  ])
  expect(judged).toEqual([
    ['p', 'the', true],
    ['p', 'teh', false],
  ])
  expect(facts.leftOut).toEqual({ 'the edit changes nothing': 1 })
})

test('regenerations: what was rejected is undesirable; the last is judged by its label alone', async () => {
  const { judged, facts } = await readRecords([
    { prompt: 'p', attempts: ['a', 'b', 'c'], label: 'up' },
    { prompt: 'q', attempts: ['a', 'b'] },
    { prompt: 'r', completion: 'a', regenerated: true },
    { prompt: 's', completion: 'a', regenerated: false },
  ])
  expect(judged).toEqual([
    ['p', 'a', false],
    ['p', 'b', false],
    ['p', 'c', true],
    ['q', 'a', false],
    ['r', 'a', false],
  ])
  expect(facts).toMatchObject({
    leftOut: { 'not regenerated and no label': 1 },
    partlyLeftOut: { 'the last attempt has no label': 1 },
  })
})
