import { describe, expect, test } from 'vitest'
import { type ChoiceOptions, chooseRows } from '../../src/data/choose.ts'
import { RowTableBuilder } from '../../src/data/table.ts'
import type { FeedbackRow } from '../../src/data/types.ts'

type Short = [prompt: string, completion: string, label: boolean, more?: Partial<FeedbackRow>]

function tableOf(rows: readonly Short[], signatures = false) {
  const builder = new RowTableBuilder({ signatures })
  for (const [i, [prompt, completion, label, more]] of rows.entries())
    builder.add({ prompt, completion, label, origin: { file: 'rows.jsonl', line: i + 1 }, ...more })
  return builder.table()
}
const choose = (rows: readonly Short[], options: Partial<ChoiceOptions> = {}, signatures = false) => {
  const choice = chooseRows(tableOf(rows, signatures), { seed: 0, ...options })
  return { ...choice, rows: Array.from(choice.rows), weights: Array.from(choice.weights) }
}
const many = (count: number, label: (i: number) => boolean): Short[] =>
  Array.from({ length: count }, (_, i) => [`p${i}`, `c${i}`, label(i)])

const dirty: Short[] = [
  ['p', 'a', true],
  ['p', 'a', true],
  ['p', 'a', false],
  ['q', ' ', false],
  ['r', 'As an AI language model, I cannot do that.', false],
  ['s', 'Write to jo@example.org or +49 228 123456.', true],
  ['t', 'The key is sk-abcdefghijklmnopqrstuvwx1234.', true],
]

describe('cleaning', () => {
  test('is off unless asked for, but everything is counted, with examples', () => {
    const { rows, weights, findings } = choose(dirty)
    expect(rows).toEqual([0, 1, 2, 3, 4, 5, 6])
    expect(weights).toEqual([1, 1, 1, 1, 1, 1, 1])
    expect(findings).toMatchObject({
      duplicates: { found: 1, dropped: 0, examples: ['rows.jsonl:2'] },
      contradictions: { found: 3, dropped: 0 },
      empty: { found: 1, examples: ['rows.jsonl:4'] },
      boilerplate: { found: 1, examples: ['rows.jsonl:5'] },
      email: { found: 1, examples: ['rows.jsonl:6'] },
      phone: { found: 1 },
      key: { found: 1, examples: ['rows.jsonl:7'] },
    })
  })

  test.each([
    [{ duplicates: 'drop' }, [0, 2, 3, 4, 5, 6]],
    [{ contradictions: 'drop' }, [3, 4, 5, 6]],
    [{ contradictions: 'majority' }, [0, 1, 3, 4, 5, 6]],
    [{ duplicates: 'drop', contradictions: 'majority' }, [3, 4, 5, 6]], // one against one is no majority
    [{ empty: 'drop', boilerplate: 'drop' }, [0, 1, 2, 5, 6]],
    [{ personal: 'drop' }, [0, 1, 2, 3, 4]],
  ] as const)('%j', (options, want) => {
    const { rows, findings } = choose(dirty, options)
    expect(rows).toEqual(want)
    const dropped = Object.values(findings).reduce((sum, finding) => sum + finding.dropped, 0)
    expect(dropped).toBe(dirty.length - want.length) // a row is counted for the first reason it goes
  })

  test('contradictions weighted by agreement', () => {
    expect(
      choose(dirty, { contradictions: 'weight' })
        .weights.slice(0, 3)
        .map((weight) => +weight.toFixed(4)),
    ).toEqual([0.6667, 0.6667, 0.3333])
  })

  test('near duplicates: same words but a few, same label', () => {
    const text =
      'The quick brown fox jumps over the lazy dog while seven sly cats watch from the old stone wall by the river and wonder about dinner'
    const rows: Short[] = [
      ['p', text, true],
      ['p', `${text} tonight`, true],
      ['p', `${text} tonight`, false],
      ['p', 'Something else entirely, about taxes, forms, deadlines and the office that is closed on Mondays.', true],
    ]
    expect(choose(rows, {}, true)).toMatchObject({ rows: [0, 1, 2, 3], findings: { nearDuplicates: { found: 1 } } })
    expect(choose(rows, { nearDuplicates: 0.7 }, true).rows).toEqual([0, 2, 3])
    const turned: Short[] = [
      ['p', text, true],
      ['p', `${text} tonight`, false],
      ['p', `${text} now`, false],
    ]
    expect(choose(turned, { nearDuplicates: 0.7 }, true).rows).toEqual([0, 1])
  })

  test('what is near a row that was dropped stays', () => {
    const text =
      'Please write to jo@example.org about the seven sly cats that watch from the old stone wall by the river at dusk'
    const rows: Short[] = [
      ['p', text, true],
      ['p', text.replace('jo@example.org', 'us'), true],
    ]
    expect(choose(rows, { nearDuplicates: 0.6 }, true).rows).toEqual([0])
    expect(choose(rows, { nearDuplicates: 0.6, personal: 'drop' }, true).rows).toEqual([1])
  })
})

describe("the paper's choices", () => {
  test('--keep-desirable keeps that share, chosen by the seed', () => {
    const rows = many(1000, (i) => i % 2 === 0)
    const first = choose(rows, { keepDesirable: 0.1 })
    expect(first.rows.filter((row) => row % 2 === 0)).toHaveLength(50)
    expect(first.rows.filter((row) => row % 2 === 1)).toHaveLength(500)
    expect(choose(rows, { keepDesirable: 0.1 }).rows).toEqual(first.rows)
    expect(choose(rows, { keepDesirable: 0.1, seed: 1 }).rows).not.toEqual(first.rows)
  })

  test('--one-per-prompt keeps one of each, not always the first', () => {
    const rows: Short[] = Array.from({ length: 200 }, (_, i) => [`p${i >> 1}`, `c${i}`, true])
    const { rows: kept } = choose(rows, { onePerPrompt: true })
    expect(new Set(kept.map((row) => row >> 1)).size).toBe(100)
    expect(kept).toHaveLength(100)
    expect(kept.filter((row) => row % 2 === 1).length).toBeGreaterThan(20)
  })

  test('--balance makes both classes weigh the same', () => {
    const rows = many(100, (i) => i % 5 === 0)
    const dropped = choose(rows, { balance: 'drop' })
    expect(dropped.rows.filter((row) => row % 5 === 0)).toHaveLength(20)
    expect(dropped.rows).toHaveLength(40)
    const { weights } = choose(rows, { balance: 'weight' })
    const sum = (up: boolean) =>
      weights.filter((_, i) => (i % 5 === 0) === up).reduce((total, weight) => total + weight, 0)
    expect(sum(true)).toBeCloseTo(sum(false), 4)
  })

  test('weights: of the row, of its annotator, of its age', () => {
    const day = 86_400_000
    const rows: Short[] = [
      ['a', 'x', true, { weight: 0.5, annotator: 'jo', time: 0 }],
      ['b', 'x', true, { annotator: 'jo', time: 10 * day }],
      ['c', 'x', true, { annotator: 'al', time: 20 * day }],
    ]
    expect(choose(rows).weights).toEqual([0.5, 1, 1])
    expect(choose(rows, { halfLife: 10 }).weights).toEqual([0.125, 0.5, 1])
    expect(choose(rows, { annotatorWeights: new Map([['al', 3]]) }).weights).toEqual([0.5, 1, 3])
    expect(choose(rows, { annotatorWeights: 'equal' }).weights).toEqual([0.375, 0.75, 1.5])
    expect(() => choose(rows, { annotatorWeights: new Map([['bo', 3]]) })).toThrow(
      /no row is by "bo"; there are jo, al/,
    )
    expect(() =>
      choose(
        many(2, () => true),
        { halfLife: 1 },
      ),
    ).toThrow(/rows\.jsonl:1: no time, and --half-life is set/)
  })
})
