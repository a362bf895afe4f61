import fc from 'fast-check'
import { expect, test } from 'vitest'
import { balanceText, resolveWeights } from '../../src/loss/weights.ts'

const counts = fc.record({
  desirable: fc.integer({ min: 1, max: 5000 }),
  undesirable: fc.integer({ min: 1, max: 5000 }),
})
const auto = { desirableWeight: 'auto', undesirableWeight: 'auto' } as const

test('auto brings lambda_D n_D / (lambda_U n_U) into [1, 3/2], and never lowers a weight below 1', () => {
  fc.assert(
    fc.property(counts, ({ desirable, undesirable }) => {
      const weights = resolveWeights(auto, { desirable, undesirable })
      const ratio = (weights.desirableWeight * desirable) / (weights.undesirableWeight * undesirable)
      expect(ratio).toBeGreaterThan(1 - 1e-9)
      expect(ratio).toBeLessThan(1.5 + 1e-9)
      expect(Math.min(weights.desirableWeight, weights.undesirableWeight)).toBeGreaterThanOrEqual(1)
    }),
  )
})

test('a weight that is given stays, and the other one is fitted to it', () => {
  fc.assert(
    fc.property(counts, fc.double({ min: 0.1, max: 9, noNaN: true }), (rows, given) => {
      const weights = resolveWeights({ desirableWeight: given, undesirableWeight: 'auto' }, rows)
      expect(weights.desirableWeight).toBe(given)
      const ratio = (given * rows.desirable) / (weights.undesirableWeight * rows.undesirable)
      expect(ratio).toBeGreaterThan(1 - 1e-9)
      expect(ratio).toBeLessThan(1.5 + 1e-9)
    }),
  )
})

test('what lies in the range already is left alone; with one kind of rows nothing can be balanced', () => {
  expect(resolveWeights(auto, { desirable: 120, undesirable: 100 })).toEqual({
    desirableWeight: 1,
    undesirableWeight: 1,
  })
  expect(resolveWeights(auto, { desirable: 9, undesirable: 0 })).toEqual({ desirableWeight: 1, undesirableWeight: 1 })
})

test('what was chosen is said, with what it makes of the data', () => {
  const rows = { desirable: 10, undesirable: 100 }
  expect(balanceText(resolveWeights(auto, rows), rows)).toBe(
    'weights: desirable weight 10, undesirable weight 1: lambda_D n_D / (lambda_U n_U) is 1, was 0.1 (advised: 1 to 1.5)',
  )
})
