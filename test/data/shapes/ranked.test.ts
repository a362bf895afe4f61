import { describe, expect, test } from 'vitest'
import { parseThreshold } from '../../../src/data/threshold.ts'
import { readRecords } from './read-records.ts'

describe('scores', () => {
  const records = [1, 2, 3, 4, 10].map((rating) => ({ prompt: 'p', completion: `c${rating}`, rating }))
  test.each([
    ['4', [false, false, false, true, true]],
    ['mean', [false, false, false, true, true]],
    ['median', [false, false, true, true, true]],
    ['quantiles:0.25', [false, false, null, true, true]],
  ])('--threshold %s', async (text, want) => {
    const { rows } = await readRecords(records, { threshold: parseThreshold(text) })
    const labels = new Map(rows.map(({ completion, label }) => [completion, label]))
    expect(records.map(({ completion }) => labels.get(completion) ?? null)).toEqual(want)
  })

  test('are never guessed', async () => {
    await expect(readRecords(records)).rejects.toThrow(/rows\.jsonl:2: rating is 2; .*--threshold <number>/)
    expect(() => parseThreshold('high')).toThrow(/expected a number, mean, median/)
    await expect(readRecords(records.slice(0, 1), { threshold: parseThreshold('quantiles:0.5') })).rejects.toThrow(
      /top and the bottom/,
    )
  })

  test('keep their value', async () => {
    expect((await readRecords(records, { threshold: parseThreshold('4') })).rows.map(({ score }) => score)).toEqual([
      1, 2, 3, 4, 10,
    ])
  })
})

describe('ranked answers', () => {
  const record = { prompt: 'p', completions: ['b', 'a', 'c'], ranks: [2, 1, 3] }

  test('halves leave out what is tied across the middle', async () => {
    const completions = [5, 5, 5, 1].map((score, i) => ({ text: `c${i}`, score }))
    const { rows } = await readRecords([{ prompt: 'p', completions }], { ranked: 'halves' })
    expect(rows.map(({ completion, label }) => [completion, label])).toEqual([['c3', false]])
  })

  test.each([
    [
      'best-worst',
      [
        ['a', true],
        ['c', false],
      ],
      1,
    ],
    [
      'halves',
      [
        ['a', true],
        ['c', false],
      ],
      1,
    ],
    [
      'pairs',
      [
        ['a', true],
        ['b', false],
        ['a', true],
        ['c', false],
        ['b', true],
        ['c', false],
      ],
      0,
    ],
    [
      'neighbours',
      [
        ['a', true],
        ['b', false],
        ['b', true],
        ['c', false],
      ],
      0,
    ],
  ] as const)('%s', async (ranked, want, partly) => {
    const { rows, facts } = await readRecords([record], { ranked })
    expect(rows.map(({ completion, label }) => [completion, label])).toEqual(want)
    expect(Object.values(facts.partlyLeftOut)).toEqual(partly ? [1] : [])
  })

  test('ranks beside each answer, and ties', async () => {
    const { rows, facts } = await readRecords([
      {
        prompt: 'p',
        answers: [
          { text: 'x', rank: 0 },
          { text: 'y', rank: 1 },
        ],
      },
      {
        prompt: 'q',
        answers: [
          { text: 'x', rank: 1 },
          { text: 'y', rank: 1 },
        ],
      },
    ])
    expect(rows.map(({ completion, label, pair }) => [completion, label, pair])).toEqual([
      ['x', true, 0],
      ['y', false, 0],
    ])
    expect(facts).toMatchObject({ records: 2, used: 1, leftOut: { 'no answer is ranked above another': 1 } })
  })
})

test('UltraFeedback: best against worst, or by threshold', async () => {
  const record = {
    source: 'x',
    instruction: 'i',
    models: ['m'],
    completions: [3, 8.5, 1].map((overall_score) => ({
      model: 'm',
      response: `r${overall_score}`,
      overall_score,
      annotations: {},
    })),
  }
  expect((await readRecords([record])).judged).toEqual([
    ['i', 'r8.5', true],
    ['i', 'r1', false],
  ])
  const { judged, facts } = await readRecords([record], { threshold: parseThreshold('3') })
  expect(judged).toEqual([
    ['i', 'r3', true],
    ['i', 'r8.5', true],
    ['i', 'r1', false],
  ])
  expect(facts.shapes).toEqual({ ultrafeedback: 1 })
})

test('SHP: score ratio of at least 2, at most 5 pairs of a post', async () => {
  const pair = (history: string, labels: number, score_ratio: number) => ({
    post_id: 'x',
    history,
    human_ref_A: 'A',
    human_ref_B: 'B',
    labels,
    score_A: 9,
    score_B: 3,
    score_ratio,
  })
  const { judged, facts } = await readRecords([
    pair('h', 1, 3),
    pair('h', 0, 2),
    pair('h', 1, 1.9),
    ...Array.from({ length: 5 }, () => pair('h', 1, 4)),
    pair('k', 0, 2),
  ])
  expect(judged.slice(0, 4)).toEqual([
    ['h', 'A', true],
    ['h', 'B', false],
    ['h', 'B', true],
    ['h', 'A', false],
  ])
  expect(facts).toMatchObject({
    records: 9,
    used: 6,
    pairs: 6,
    leftOut: { 'score ratio below 2': 1, 'more than 5 pairs of one prompt': 2 },
  })
})
