import { expect, test } from 'vitest'
import { makePlan } from '../../src/data/plan.ts'
import { Random } from '../../src/data/random.ts'
import { makeObjective } from '../../src/loss/index.ts'
import type { ReferencePoint } from '../../src/loss/objective.ts'

/** Mismatched pairs of a batch of rows, of which every so many have one prompt. */
function pairsOf(rows: number, block: number | undefined, ofOnePrompt = 1) {
  const examples = Array.from({ length: rows }, (_, index) => ({
    index,
    promptGroup: Math.floor(index / ofOnePrompt),
    completionGroup: index,
    prompt: Int32Array.of(index),
    completion: Int32Array.of(index),
    desirable: true,
    origin: { file: 'test', line: index + 1 },
  }))
  const plan = makePlan({ examples, seed: 1, epochs: 1, batchSize: rows, mismatched: true, mismatchedBlock: block })
  return plan.batch(0).mismatches
}

/** Spreads of what rows, their completions, and pairs by themselves add to a log-ratio. */
type Spreads = readonly [row: number, completion: number, pair: number]

/** Over many batches: how z0's mean scatters, and the root mean square of its standard error as reported. */
function simulated(
  pairs: ReturnType<typeof pairsOf>,
  [row, completion, alone]: Spreads,
  estimate: (ratios: number[]) => ReferencePoint,
) {
  const random = new Random('reference point', pairs.length)
  const normal = () => Math.sqrt(-2 * Math.log(1 - random.share())) * Math.cos(2 * Math.PI * random.share())
  const examples = 1 + Math.max(...pairs.map((pair) => pair.row))
  const points = Array.from({ length: 1500 }, () => {
    const [rows, completions] = [row, completion].map((size) => Array.from({ length: examples }, () => size * normal()))
    return estimate(pairs.map((pair) => 0.4 + rows![pair.row]! + completions![pair.partner]! + alone * normal()))
  })
  const meanOf = (of: (point: ReferencePoint) => number) => points.reduce((sum, p) => sum + of(p), 0) / points.length
  const centre = meanOf(({ mean }) => mean)
  return {
    scatter: Math.sqrt(meanOf(({ mean }) => (mean - centre) ** 2)),
    reported: Math.sqrt(meanOf(({ standardError }) => standardError ** 2)),
    typical: meanOf(({ standardError }) => standardError),
  }
}

const effects: Spreads = [0.8, 0.68, 0.28]
const cases: { rows: number; block: number; prompt: number; spreads: Spreads }[] = [
  { rows: 32, block: 2, prompt: 1, spreads: effects },
  { rows: 32, block: 8, prompt: 1, spreads: effects },
  { rows: 32, block: 32, prompt: 1, spreads: effects },
  { rows: 32, block: 8, prompt: 4, spreads: effects },
  { rows: 32, block: 5, prompt: 1, spreads: effects },
  { rows: 32, block: 8, prompt: 1, spreads: [0, 0.8, 0.1] },
  { rows: 32, block: 32, prompt: 1, spreads: [0.8, 0, 0.1] },
  { rows: 32, block: 32, prompt: 1, spreads: [0, 0, 1] },
  { rows: 10, block: 8, prompt: 1, spreads: effects },
]

test.each(cases)(
  'the standard error of all-pairs is how far its mean scatters: $rows rows, blocks of $block, $prompt to a prompt, spreads $spreads',
  ({ rows, block, prompt, spreads }) => {
    const { referencePoint } = makeObjective({ type: 'kto', referencePoint: 'all-pairs', referencePointBlock: block })
    const pairs = pairsOf(rows, block, prompt)
    const { scatter, reported, typical } = simulated(pairs, spreads, (ratios) => referencePoint!(ratios, {}, pairs))
    for (const error of [reported, typical]) {
      expect(error / scatter).toBeGreaterThan(0.75)
      expect(error / scatter).toBeLessThan(1.25)
    }
  },
)

test('that of single mismatches is one of independent log-ratios', () => {
  const { referencePoint } = makeObjective({ type: 'kto' })
  const pairs = pairsOf(32, undefined)
  const { scatter, reported } = simulated(pairs, effects, (ratios) => referencePoint!(ratios, {}, pairs))
  expect(reported / scatter).toBeCloseTo(1, 1)
  expect(referencePoint!([1, 2, 4], {}, [])).toEqual(referencePoint!([1, 2, 4], {}))
})

test('a standard error has all that is needed for it, or is one of independent pairs', () => {
  const { referencePoint } = makeObjective({ type: 'kto', referencePoint: 'all-pairs' })
  const plain = referencePoint!([1, 2, 4, 5, 0, 3], {})
  expect(plain).toMatchObject({ mean: 2.5, count: 6 })
  expect(plain.standardError).toBeCloseTo(Math.sqrt(3.5 / 6), 6)
  // Of three rows any two pairs have one in common, so nothing is known of independent ones.
  expect(referencePoint!([1, 2, 4, 5, 0, 3], {}, pairsOf(3, 8))).toEqual(plain)
  expect(referencePoint!([], {}, [])).toEqual({ value: 0, mean: 0, standardError: 0, count: 0 })
})
