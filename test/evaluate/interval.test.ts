import { expect, test } from 'vitest'
import { wilson } from '../../src/evaluate/interval.ts'

test.each([
  // Newcombe (1998), Statistics in Medicine 17, table I; the second is a textbook's
  [0, 10, 0, 0.277533],
  [5, 10, 0.236593, 0.763407],
  [81, 263, 0.255287, 0.366206],
])('Wilson interval of %i of %i', (successes, total, low, high) => {
  const interval = wilson(successes, total)
  expect(interval.low).toBeCloseTo(low, 5)
  expect(interval.high).toBeCloseTo(high, 5)
})

test('without trials nothing is known', () => {
  expect(wilson(0, 0)).toMatchObject({ low: 0, high: 1 })
})
