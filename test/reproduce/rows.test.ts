import { expect, test } from 'vitest'
import { completeLoss } from '../../src/loss/table.ts'
import { experiments } from '../../src/reproduce/experiments.ts'
import { differenceOf } from '../../src/reproduce/reproduce.ts'
import { type Judged, paired, shaped } from '../../src/reproduce/rows.ts'
import { markdown } from '../../src/reproduce/tables.ts'

const rows: Judged[] = Array.from({ length: 400 }, (_, i) => ({
  prompt: `q${i >> 1}`,
  completion: `a${i}`,
  label: i % 4 < 2 ? i % 2 === 0 : i % 3 === 0,
}))
const ups = (some: readonly Judged[]) => some.filter(({ label }) => label).length

test('one reply a prompt keeps one of each prompt, now the first and now the second', () => {
  const one = shaped(rows, { onePerPrompt: true }, 1)
  expect(new Set(one.map(({ prompt }) => prompt)).size).toBe(200)
  expect(one.length).toBe(200)
  const first = one.filter(({ completion }) => Number(completion.slice(1)) % 2 === 0).length
  expect(first).toBeGreaterThan(70)
  expect(first).toBeLessThan(130)
})

test('fewer thumbs up leaves all thumbs down', () => {
  const few = shaped(rows, { keepDesirable: 0.1 }, 1)
  expect(ups(few)).toBe(Math.round(0.1 * ups(rows)))
  expect(few.length - ups(few)).toBe(rows.length - ups(rows))
  expect(ups(shaped(rows, { keepDesirable: 1e-9 }, 1))).toBe(1)
})

test('wrong thumbs are as many as asked for, others with another seed', () => {
  const turned = (seed: number) =>
    shaped(rows, { wrong: 0.2 }, seed).flatMap(({ label }, i) => (label === rows[i]!.label ? [] : [i]))
  expect(Math.abs(turned(1).length - 80)).toBeLessThan(25)
  expect(turned(1)).toEqual(turned(1))
  expect(turned(1)).not.toEqual(turned(2))
})

test('people who disagree judge each reply three times, most of them the same way', () => {
  const all = shaped(rows, { dissent: 0.35 }, 1)
  expect(all.length).toBe(1200)
  const agree = all.filter(({ label }, i) => label === rows[Math.floor(i / 3)]!.label).length / 1200
  expect(agree).toBeGreaterThan(0.6)
  expect(agree).toBeLessThan(0.7)
})

test('pairs have a thumbs up and a thumbs down of one prompt', () => {
  const label = new Map(rows.map((row) => [row.completion, row.label]))
  const pairs = paired(rows)
  expect(pairs.length).toBeGreaterThan(80)
  for (const { chosen, rejected } of pairs)
    expect([label.get(chosen as string), label.get(rejected as string)]).toEqual([true, false])
})

test('every arm names an objective and settings that it has, and every name in a table is an arm', () => {
  for (const { arms, differences = [], paper } of Object.values(experiments)) {
    const all = arms(['small', 'large'])
    for (const { loss } of all) if (loss) expect(completeLoss(loss).type).toBe(loss.type)
    const names = all.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
    for (const name of [...differences.flat(), ...Object.keys(paper.values)]) expect(names).toContain(name)
  }
})

test('tables stand beside the figures of the paper, with differences by seed', () => {
  const arm = { name: 'KTO', value: 0.5, low: 0.4, high: 0.6, seeds: [0.5, 0.5], rows: 10, paper: 0.41 }
  const differences = [{ first: 'KTO', second: 'DPO', mean: -0.02, low: -0.05, high: 0.01 }]
  const result = {
    name: 'methods',
    title: 'M',
    measure: 'up',
    seeds: 2,
    arms: [arm],
    differences,
    paper: 'wins',
  } as const
  const text = markdown([{ ...result, arms: [arm], differences, remark: 'small.' }])
  expect(text).toContain('| KTO | 50.0 % | 40.0 % to 60.0 % | 10 | 0.41 |')
  expect(text).toContain('| KTO - DPO | -2.0 | -5.0 to +1.0 |')
})

test('a difference goes by pairs: what both seeds share falls out', () => {
  const of = (values: readonly number[]) => values.map((value) => ({ value, low: 0, high: 1, rows: 1 }))
  const { mean, low, high } = differenceOf(of([0.3, 0.5, 0.8]), of([0.2, 0.41, 0.69]))!
  expect(mean).toBeCloseTo(0.1, 10)
  expect(low).toBeGreaterThan(0.05)
  expect(high).toBeLessThan(0.15)
})

test('with one seed it goes by questions, and by nothing where these are not known', () => {
  const of = (points: number[]) => [{ value: 0.5, low: 0, high: 1, rows: 1, points }]
  expect(differenceOf(of([1, 1, 1, 0]), of([1, 0, 0, 0]))!.mean).toBeCloseTo(0.5, 10)
  expect(differenceOf([{ value: 0.5, low: 0, high: 1, rows: 1 }], of([1]))).toBeNull()
})
