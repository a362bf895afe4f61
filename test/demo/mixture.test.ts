import { expect, test } from 'vitest'
import { judge } from '../../src/demo/judge.ts'
import { sftMixture } from '../../src/demo/mixture.ts'
import { trainingPrompts } from '../../src/demo/prompts.ts'

const rows = sftMixture(10_000, 1)

test('four in ten replies are helpful, two each are curt, wrong and rude', () => {
  const share = (reason: string) =>
    rows.filter((row) => judge(row.prompt, row.completion).reason === reason).length / rows.length
  expect(share('helpful')).toBeCloseTo(0.4, 1)
  for (const reason of ['curt', 'wrong', 'rude']) expect(share(reason)).toBeCloseTo(0.2, 1)
})

test('prompts are training prompts, and prompt and completion join to a text', () => {
  const training = new Set(trainingPrompts(38_400, 0))
  for (const { prompt, completion } of rows) {
    expect(training.has(prompt)).toBe(true)
    expect(completion).toMatch(/^ [A-Z0-9].*[.!?]$/)
  }
})

test('a seed gives one mixture', () => {
  expect(sftMixture(100, 1)).toEqual(sftMixture(100, 1))
  expect(sftMixture(100, 1)).not.toEqual(sftMixture(100, 2))
})
