import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { densityRatio, desirableShare, fitClassifier, fitStandardised } from '../../src/loss/density-ratio.ts'
import { golden, relativeDifference } from '../train/fixtures.ts'

const want = JSON.parse(readFileSync(golden('objectives/density-ratio.json'), 'utf8')) as {
  labels: boolean[]
  embeddings: number[][]
  weights: number[]
  bias: number
  shares: number[]
  ratios: number[]
}
const features = { values: Float32Array.from(want.embeddings.flat()), width: 5 }

test("the classifier is scikit-learn's, and the weights are those that TRL's BCOTrainer makes of it", () => {
  const classifier = fitClassifier(features, want.labels)
  expect(relativeDifference([...classifier.weights, classifier.bias], [...want.weights, want.bias])).toBeLessThan(1e-5)
  const shares = want.embeddings.map((row) => desirableShare(Float32Array.from(row), classifier))
  expect(relativeDifference(shares, want.shares)).toBeLessThan(1e-5)
  const ratios = Array.from(shares, (share) => densityRatio(share, { low: 0.5, high: 3 }))
  expect(relativeDifference(ratios, want.ratios)).toBeLessThan(1e-5)
  expect(new Set([0.5, 3].map((bound) => ratios.includes(bound)))).toEqual(new Set([true])) // both cuts are met
})

test('is fitted also where the kinds can be told apart without error, or not at all', () => {
  const apart = fitClassifier({ values: Float32Array.of(-1, -2, 1, 2), width: 1 }, [false, false, true, true])
  expect(apart.weights[0]).toBeGreaterThan(0.5)
  expect(apart.bias).toBeCloseTo(0, 8)
  const alike = fitClassifier({ values: new Float32Array(9), width: 3 }, [true, false, false])
  expect(desirableShare(new Float32Array(3), alike)).toBeCloseTo(0.5, 8) // kinds weigh the same in all
  expect(() => fitClassifier({ values: new Float32Array(2), width: 1 }, [true, true])).toThrow(/both kinds/)
})

test('standardised, features give the same odds whatever their scale and offset, and what does not vary counts for nothing', () => {
  const numbers = fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 24, maxLength: 24 })
  const labels = [true, false, true, true, false, false]
  fc.assert(
    fc.property(numbers, (given) => {
      const values = Float32Array.from(given, (value, i) => (i % 4 === 3 ? 7 : value + i / 9))
      const moved = values.map((value, i) => value * [3, 0.2, 10, 1][i % 4]! + [5, -1, 0, 2][i % 4]!)
      const odds = [values, moved].map((all) => {
        const classifier = fitStandardised({ values: all, width: 4 }, labels)
        expect(classifier.weights[3]).toBe(0)
        return labels.map((_, row) => desirableShare(all.subarray(row * 4, row * 4 + 4), classifier))
      })
      expect(relativeDifference(odds[1]!, odds[0]!)).toBeLessThan(1e-3)
    }),
  )
})
