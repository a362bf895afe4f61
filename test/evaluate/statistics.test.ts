import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/data/random.ts'
import { bootstrap } from '../../src/evaluate/bootstrap.ts'
import { calibration } from '../../src/evaluate/calibration.ts'
import { areaWithInterval } from '../../src/evaluate/curve.ts'
import { meanInterval, wilson } from '../../src/evaluate/interval.ts'
import { lengthControlledRate, logisticFit } from '../../src/evaluate/length-control.ts'
import { normalDistribution, normalQuantile } from '../../src/evaluate/normal.ts'
import { signTest } from '../../src/evaluate/sign-test.ts'
import { type Comparison, winRate } from '../../src/evaluate/win-rate.ts'

// scipy's own numbers: test/golden/make_statistics.py
const scipy = JSON.parse(readFileSync(new URL('../golden/statistics/expected.json', import.meta.url), 'utf8')) as {
  wilson: { successes: number; total: number; low: number; high: number }[]
  sign: { wins: number; losses: number; p: number }[]
  curves: { rewards: number[]; labels: boolean[]; area: number; low: number; high: number }[]
  bootstrap: { values: number[] } & Record<'bca' | 'percentile', { low: number; high: number }>
  logistic: { x: number[]; y: number[]; intercept: number; slope: number }
  means: { values: number[]; interval: [number, number] }[]
  normal: { x: number; probability: number }[]
}
/** scikit-learn's: test/golden/make_length_control.py */
const scikitLearn = JSON.parse(
  readFileSync(new URL('../golden/statistics/length_control.json', import.meta.url), 'utf8'),
) as { candidate: number[]; baseline: number[]; points: number[]; raw: number; rate: number }
const meanOf = (values: readonly number[]) => (rows: readonly number[]) =>
  rows.reduce((sum, row) => sum + values[row]!, 0) / rows.length

describe('as scipy has it', () => {
  test.each(scipy.wilson)('Wilson, $successes of $total', ({ successes, total, low, high }) => {
    expect(wilson(successes, total)).toMatchObject({ low: expect.closeTo(low, 10), high: expect.closeTo(high, 10) })
  })
  test.each(scipy.sign)('sign test, $wins to $losses', ({ wins, losses, p }) => {
    expect(signTest(wins, losses) / p).toBeCloseTo(1, 8)
    expect(signTest(losses, wins)).toBe(signTest(wins, losses))
  })
  test.each(scipy.curves)('area under the curve, $area', ({ rewards, labels, area, low, high }) => {
    const got = areaWithInterval(rewards, labels)!
    expect(got).toMatchObject({
      area: expect.closeTo(area, 12),
      low: expect.closeTo(low, 6),
      high: expect.closeTo(high, 6),
    })
  })
  test.each(['bca', 'percentile'] as const)('bootstrap, %s', (method) => {
    const { values, [method]: want } = scipy.bootstrap
    const got = bootstrap(values.length, meanOf(values), { method, resamples: 20_000 })
    expect(got.low).toBeCloseTo(want.low, 1.7) // 0.01: both are random
    expect(got.high).toBeCloseTo(want.high, 1.7)
  })
  test('logistic regression', () => {
    const { x, y, intercept, slope } = scipy.logistic
    const fit = logisticFit(x, y, [...x.keys()])
    expect(fit.intercept).toBeCloseTo(intercept, 6)
    expect(fit.slope).toBeCloseTo(slope, 6)
  })
  test('win rate at equal lengths, by scikit-learn', () => {
    const { candidate, baseline, points, raw, rate } = scikitLearn
    const comparisons = points.map((point, i) => ({
      points: point,
      candidateLength: candidate[i]!,
      baselineLength: baseline[i]!,
    }))
    const { rate: uncontrolled, lengthControlled } = winRate(comparisons)
    expect(uncontrolled.value).toBeCloseTo(raw, 12)
    expect(lengthControlled!.value).toBeCloseTo(rate, 6)
    expect(rate).toBeLessThan(raw - 0.1) // the judge likes long replies, and the candidate writes them
  })
  test.each(scipy.means)('interval of a mean', ({ values, interval }) => {
    const { low, high } = meanInterval(values)
    expect(low).toBeCloseTo(interval[0], 3)
    expect(high).toBeCloseTo(interval[1], 3)
  })
  test.each(scipy.normal)('normal distribution at $x', ({ x, probability }) => {
    expect(normalDistribution(x)).toBeCloseTo(probability, 12)
    expect(normalQuantile(probability)).toBeCloseTo(x, 8)
  })
})

/** How often intervals of 1,000 made-up data sets cover the truth. */
function coverage(truth: number, interval: (random: Random) => { low: number; high: number }, sets = 1000): number {
  const random = new Random('coverage')
  let covered = 0
  for (let i = 0; i < sets; i++) {
    const { low, high } = interval(random)
    if (low <= truth && truth <= high) covered++
  }
  return covered / sets
}

const normal = (random: Random) => normalQuantile(Math.min(1 - 1e-12, Math.max(1e-12, random.share())))

describe('intervals of 95 % cover the truth in about 95 of 100 data sets', () => {
  const covers = (share: number, [least, most]: [number, number] = [0.93, 0.97]) => {
    expect(share).toBeGreaterThanOrEqual(least)
    expect(share).toBeLessThanOrEqual(most)
  }
  test('Wilson, at a rate of 0.3 with 60 trials', () => {
    covers(
      coverage(0.3, (random) =>
        wilson(Array.from({ length: 60 }, () => random.share() < 0.3).filter(Boolean).length, 60),
      ),
    )
  })
  test('bootstrap of a mean, 80 rows', () => {
    const of = (random: Random) => {
      const values = Array.from({ length: 80 }, () => normal(random))
      return bootstrap(80, meanOf(values), { resamples: 400 })
    }
    covers(coverage(0, of, 500), [0.91, 0.975])
  })
  test('bootstrap by clusters where the four rows of a prompt are alike; by rows it would cover far less', () => {
    const of = (clustered: boolean) => (random: Random) => {
      const values = Array.from({ length: 40 }, () => normal(random)).flatMap((shared) => [
        shared,
        shared,
        shared,
        shared,
      ])
      const clusters = clustered ? values.map((_, row) => Math.floor(row / 4)) : undefined
      return bootstrap(values.length, meanOf(values), { resamples: 200, clusters })
    }
    covers(coverage(0, of(true), 300), [0.9, 0.98])
    expect(coverage(0, of(false), 100)).toBeLessThan(0.8)
  })
  test('area under the curve, small and uneven classes', () => {
    const truth = normalDistribution(1 / Math.SQRT2)
    const of = (random: Random) => {
      const labels = Array.from({ length: 45 }, (_, row) => row < 15)
      return areaWithInterval(
        labels.map((label) => normal(random) + Number(label)),
        labels,
      )!
    }
    covers(coverage(truth, of), [0.92, 0.985])
  })
})

describe('closed forms', () => {
  test('the bootstrap deviation of a mean is sigma over the root of n', () => {
    const values = Array.from({ length: 400 }, (_, i) => i / 400)
    const { low, high } = bootstrap(400, meanOf(values), { resamples: 10_000, method: 'percentile' })
    expect((high - low) / (2 * 1.95996) / Math.sqrt(1 / 12 / 400)).toBeCloseTo(1, 1)
  })
  test('a sign test of ten wins in ten has p = 2 / 2^10', () => {
    expect(signTest(10, 0)).toBeCloseTo(2 / 1024, 12)
    expect(signTest(0, 0)).toBe(1)
    expect(signTest(5000, 6000)).toBeLessThan(1e-18)
  })
  test('separate classes have an area of 1, whose interval is open below; an empty class has none', () => {
    expect(areaWithInterval([1, 2, 3, -1, -2], [true, true, true, false, false])).toMatchObject({ area: 1, high: 1 })
    expect(areaWithInterval([1, 2, 3, -1, -2], [true, true, true, false, false])!.low).toBeLessThan(0.9)
    expect(areaWithInterval([1, 2], [true, true])).toBeNull()
  })
})

describe('calibration', () => {
  test('probabilities that come true have no error; confident ones that do not have', () => {
    const random = new Random('calibration')
    const probabilities = Array.from({ length: 20_000 }, () => random.share())
    const labels = probabilities.map((probability) => random.share() < probability)
    const good = calibration(probabilities, labels)
    expect(good.expectedError).toBeLessThan(0.02)
    expect(good.brier).toBeCloseTo(1 / 6, 2) // the mean of p (1 - p)
    for (const { predicted, low, high } of good.bins)
      expect(predicted > low - 0.02 && predicted < high + 0.02).toBe(true)
    const extreme = probabilities.map((probability) => (probability > 0.5 ? 0.99 : 0.01))
    expect(calibration(extreme, labels).expectedError).toBeCloseTo(0.24, 1)
  })
  test('rows of one probability agree with it whatever their order', () => {
    const even = (labels: boolean[]) => calibration(new Array(labels.length).fill(0.5), labels).expectedError
    const ups = Array.from({ length: 100 }, (_, i) => i < 50)
    expect(even(ups)).toBe(0)
    expect(even(ups.map((_, i) => i % 2 === 0))).toBe(0)
  })
  test('says what error is expected of true probabilities: much for few rows', () => {
    const random = new Random('expected')
    const of = (rows: number) => {
      const probabilities = Array.from({ length: rows }, () => random.share())
      const errors = Array.from({ length: 60 }, () =>
        calibration(
          probabilities,
          probabilities.map((probability) => random.share() < probability),
        ),
      )
      const mean = errors.reduce((sum, { expectedError }) => sum + expectedError, 0) / errors.length
      return { mean, expected: errors[0]!.errorOfCalibrated }
    }
    for (const rows of [20, 200]) {
      const { mean, expected } = of(rows)
      expect(Math.abs(expected / mean - 1)).toBeLessThan(0.15)
    }
    expect(of(20).expected).toBeGreaterThan(0.2)
  })
  test('all rows are in some bin, few rows too', () => {
    const { bins } = calibration([0.2, 0.4, 0.9], [false, true, true])
    expect(bins.map(({ total, share }) => [total, share])).toEqual([
      [1, 0],
      [1, 1],
      [1, 1],
    ])
    expect(calibration([], []).bins).toEqual([])
  })
})

describe('win rate', () => {
  const compared = (points: number, candidateLength = 100, baselineLength = 100): Comparison => ({
    points,
    candidateLength,
    baselineLength,
  })
  const repeat = (count: number, one: Comparison) => Array.from({ length: count }, () => one)

  test('counts ties half, and leaves them out of the sign test', () => {
    const result = winRate([...repeat(60, compared(1)), ...repeat(20, compared(0.5)), ...repeat(20, compared(0))])
    expect(result).toMatchObject({ comparisons: 100, wins: 60, ties: 20, losses: 20, verdict: 'better' })
    expect(result.rate.value).toBeCloseTo(0.7, 12)
    expect(result.rate.low).toBeGreaterThan(0.58)
    expect(result.rate.high).toBeLessThan(0.8)
    expect(result.signTest).toBe(signTest(60, 20))
    expect(result.decided).toEqual(wilson(60, 80))
  })
  test('takes comparisons on one prompt for one piece of evidence', () => {
    const prompts = Array.from({ length: 12 }, (_, i) => ({ ...compared(i < 9 ? 1 : 0), prompt: `q${i}` }))
    const once = winRate(prompts)
    const repeated = winRate(prompts.flatMap((one) => repeat(8, one)))
    expect(once.verdict).toBe('no evidence')
    expect(repeated).toMatchObject({ wins: 72, losses: 24, verdict: 'no evidence', signTest: once.signTest })
    expect(repeated.decided).toEqual(once.decided)
    expect(repeated.rate).toEqual(once.rate)
    expect(winRate(prompts.flatMap(({ prompt: _, ...one }) => repeat(8, one))).verdict).toBe('better')
  })
  test('prompts weigh the same however many replies they have', () => {
    const many = Array.from({ length: 90 }, () => ({ ...compared(1), prompt: 'often' }))
    const others = Array.from({ length: 9 }, (_, i) => ({ ...compared(0), prompt: `q${i}` }))
    const { rate, verdict } = winRate([...many, ...others])
    expect([rate.value, verdict]).toEqual([0.1, 'worse'])
    expect(rate.high).toBeLessThan(0.51)
  })
  test('prompts that all come to the same leave an interval', () => {
    const same = Array.from({ length: 16 }, (_, i) => ({ ...compared(i % 2), prompt: `q${i >> 1}` }))
    const { low, high } = winRate(same).rate
    expect([low, high]).toEqual([wilson(4, 8).low, wilson(4, 8).high])
  })
  test('few prompts: the interval covers the truth, and lengths are not controlled for', () => {
    const random = new Random('few')
    const covered = Array.from({ length: 400 }, () => {
      const comparisons = Array.from({ length: 4 }, (_, prompt) => {
        const quality = random.share()
        return Array.from({ length: 8 }, () => ({
          ...compared(random.share() < quality ? 1 : 0, 50 + random.below(100)),
          prompt: `q${prompt}`,
        }))
      }).flat()
      const { rate, lengthControlled } = winRate(comparisons)
      expect(lengthControlled).toBeNull()
      return rate.low <= 0.5 && rate.high >= 0.5
    }).filter(Boolean).length
    expect(covered / 400).toBeGreaterThan(0.9)
  })
  test('an interval of equal points is that of their number', () => {
    expect(winRate(repeat(5, compared(1))).rate).toMatchObject({ value: 1, low: wilson(5, 5).low, high: 1 })
    const ties = winRate(repeat(5, compared(0.5))).rate
    expect(ties.low).toBeLessThan(0.2)
    expect(ties.high).toBeGreaterThan(0.8)
  })
  test('says better, worse or no evidence', () => {
    const verdict = (wins: number, losses: number) =>
      winRate([...repeat(wins, compared(1)), ...repeat(losses, compared(0))]).verdict
    expect(['no evidence', 'no evidence', 'better', 'worse']).toEqual([
      verdict(0, 0),
      verdict(12, 8),
      verdict(40, 20),
      verdict(20, 40),
    ])
  })
  test('where the longer reply wins whatever it says, the length-controlled rate is even', () => {
    const random = new Random('lengths', 1)
    const comparisons = Array.from({ length: 600 }, () => {
      const longer = random.share() < 0.8
      return compared(random.share() < (longer ? 0.9 : 0.1) ? 1 : 0, longer ? 150 : 60, longer ? 60 : 150)
    })
    const { rate, lengthControlled, byLength } = winRate(comparisons)
    expect(rate.value).toBeGreaterThan(0.65)
    expect(lengthControlled!.low).toBeLessThan(0.5)
    expect(lengthControlled!.high).toBeGreaterThan(0.5)
    expect(byLength.map(({ bucket, comparisons: count }) => [bucket, count > 0])).toEqual([
      ['shorter', true],
      ['similar', false],
      ['longer', true],
    ])
    expect(byLength[2]!.rate).toBeGreaterThan(0.8)
    expect(byLength[0]!.rate).toBeLessThan(0.2)
  })
  test('where quality alone decides, control of lengths changes nothing', () => {
    const random = new Random('quality')
    const comparisons = Array.from({ length: 800 }, () =>
      compared(random.share() < 0.7 ? 1 : 0, 50 + random.below(200), 50 + random.below(200)),
    )
    const { rate, lengthControlled } = winRate(comparisons)
    expect(lengthControlled!.value).toBeCloseTo(rate.value, 1)
    expect(lengthControlledRate(repeat(30, compared(1)))).toBeNull()
  })
})
