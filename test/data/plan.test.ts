import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makePlan } from '../../src/data/plan.ts'
import type { Example } from '../../src/data/types.ts'

function examplesOf(groups: readonly (readonly [number, number])[]): Example[] {
  return groups.map(([promptGroup, completionGroup], index) => ({
    index,
    promptGroup,
    completionGroup,
    prompt: Int32Array.of(promptGroup),
    completion: Int32Array.of(completionGroup),
    desirable: true,
    origin: { file: 'test', line: index + 1 },
  }))
}

const someExamples = fc.array(fc.tuple(fc.nat(5), fc.nat(5)), { minLength: 1, maxLength: 40 }).map(examplesOf)
const options = { seed: 7, epochs: 2, batchSize: 4, mismatched: true }

describe('a plan', () => {
  test('takes every example once an epoch, in a new order each time', () => {
    const examples = examplesOf(Array.from({ length: 21 }, (_, i) => [i, i]))
    const plan = makePlan({ examples, ...options })
    const epochs = [0, 1].map((epoch) =>
      Array.from(
        { length: plan.stepsPerEpoch },
        (_, step) => plan.batch(epoch * plan.stepsPerEpoch + step).rows,
      ).flat(),
    )
    for (const rows of epochs) expect([...rows].sort((a, b) => a - b)).toEqual(examples.map(({ index }) => index))
    expect(epochs[0]).not.toEqual(epochs[1])
    expect(plan.steps).toBe(12)
  })

  test('is the same whatever step is asked for first', () => {
    const examples = examplesOf(Array.from({ length: 30 }, (_, i) => [i % 9, i % 7]))
    const forward = makePlan({ examples, ...options })
    const jumping = makePlan({ examples, ...options })
    const last = jumping.batch(jumping.steps - 1)
    const inOrder = Array.from({ length: forward.steps }, (_, step) => forward.batch(step))
    expect(inOrder.at(-1)).toEqual(last)
    expect(jumping.batch(3)).toEqual(inOrder[3])
  })

  test('pairs each row with another prompt and another text wherever the data has one', () => {
    fc.assert(
      fc.property(someExamples, fc.integer({ min: 1, max: 8 }), (examples, batchSize) => {
        const plan = makePlan({ examples, ...options, batchSize })
        for (let step = 0; step < plan.steps; step++) {
          const { rows, partners } = plan.batch(step)
          for (const [i, index] of rows.entries()) {
            const row = examples[index]!
            const fits = (other: Example) =>
              other.promptGroup !== row.promptGroup && other.completionGroup !== row.completionGroup
            const partner = partners[i] ?? null
            if (partner === null) expect(examples.some(fits)).toBe(false)
            else expect(fits(examples[partner]!)).toBe(true)
          }
        }
      }),
    )
  })

  test('uses every completion of a batch once, where all prompts and texts differ', () => {
    const examples = examplesOf(Array.from({ length: 8 }, (_, i) => [i, i]))
    const { rows, partners } = makePlan({ examples, ...options, batchSize: 8 }).batch(0)
    expect([...partners].sort()).toEqual([...rows].sort())
  })

  test('finds partners for batches of one', () => {
    const examples = examplesOf([
      [0, 0],
      [1, 1],
      [2, 2],
    ])
    const plan = makePlan({ examples, ...options, batchSize: 1 })
    for (let step = 0; step < plan.steps; step++) expect(plan.batch(step).partners[0]).not.toBeNull()
  })

  test('takes partners from the batch itself where it has any', () => {
    fc.assert(
      fc.property(someExamples, fc.integer({ min: 2, max: 8 }), (examples, batchSize) => {
        const { rows, partners } = makePlan({ examples, ...options, batchSize }).batch(0)
        for (const [i, index] of rows.entries()) {
          const row = examples[index]!
          const near = rows.filter((other) => {
            const { promptGroup, completionGroup } = examples[other]!
            return promptGroup !== row.promptGroup && completionGroup !== row.completionGroup
          })
          if (near.length > 0) expect(near).toContain(partners[i])
        }
      }),
    )
  })

  test('spreads partners evenly where no rotation of the batch fits', () => {
    // Two prompts of four rows each: shuffled, hardly any rotation brings all of one to all of the other.
    const examples = examplesOf(Array.from({ length: 8 }, (_, i) => [i % 2, i]))
    for (let seed = 0; seed < 20; seed++) {
      const { rows, partners } = makePlan({ examples, ...options, seed, batchSize: 8 }).batch(0)
      expect([...partners].sort()).toEqual([...rows].sort())
    }
  })

  test('with batches of one, takes the row that comes next, and the first one for the last', () => {
    const examples = examplesOf(Array.from({ length: 5 }, (_, i) => [i, i]))
    const plan = makePlan({ examples, ...options, batchSize: 1, epochs: 1 })
    const batches = Array.from({ length: plan.steps }, (_, step) => plan.batch(step))
    const order = batches.map(({ rows }) => rows[0])
    expect(batches.map(({ partners }) => partners[0])).toEqual([...order.slice(1), order[0]])
  })

  test('ends early at maxSteps, with the steps that it would have taken anyway', () => {
    const examples = examplesOf(Array.from({ length: 20 }, (_, i) => [i, i]))
    const whole = makePlan({ examples, ...options })
    const short = makePlan({ examples, ...options, maxSteps: 7 })
    expect(short.steps).toBe(7)
    expect(short.batch(6)).toEqual(whole.batch(6))
    expect(() => short.batch(7)).toThrow('step 7 is not in the plan: it has steps 0 to 6')
  })

  test('keeps a short last batch, and depends on the seed', () => {
    const examples = examplesOf(Array.from({ length: 10 }, (_, i) => [i, i]))
    const plan = makePlan({ examples, ...options })
    expect([0, 1, 2, 3].map((step) => plan.batch(step).rows.length)).toEqual([4, 4, 2, 4])
    expect([0, 2, 3].map((step) => plan.batch(step).epoch)).toEqual([0, 0, 1])
    expect(makePlan({ examples, ...options, seed: 8 }).batch(0).rows).not.toEqual(plan.batch(0).rows)
  })
})

/** Rows of a prompt with fifty answers beside a few others, some of them the same text. */
const lopsided = examplesOf([
  ...Array.from({ length: 50 }, (_, i) => [0, i % 20] as const),
  ...Array.from({ length: 7 }, (_, i) => [1 + (i % 3), i % 5] as const),
])

test.each([1, 2, 3, 8, 13, 57, 64])(
  'mismatches of batches of %i share neither prompt nor text, even where one prompt has most rows',
  (batchSize) => {
    for (const mismatchedBlock of [undefined, 2, 5]) {
      const plan = makePlan({ examples: lopsided, ...options, batchSize, mismatchedBlock })
      for (let step = 0; step < plan.steps; step++) {
        const { rows, mismatches } = plan.batch(step)
        expect(new Set(mismatches.map(({ row }) => row))).toEqual(new Set(rows))
        for (const { row, partner } of mismatches) {
          expect(lopsided[partner]!.promptGroup).not.toBe(lopsided[row]!.promptGroup)
          expect(lopsided[partner]!.completionGroup).not.toBe(lopsided[row]!.completionGroup)
        }
      }
    }
  },
)

test('all mismatches of a block: every row meets all others of it that fit, and no row of another block', () => {
  const examples = examplesOf(Array.from({ length: 12 }, (_, i) => [i, i]))
  const { rows, mismatches } = makePlan({ examples, ...options, batchSize: 12, mismatchedBlock: 4 }).batch(0)
  expect(mismatches).toHaveLength(12 * 3)
  for (const { row, partner } of mismatches)
    expect(Math.floor(rows.indexOf(row) / 4)).toBe(Math.floor(rows.indexOf(partner) / 4))
})

describe('a plan of pairs', () => {
  const paired = (count: number) =>
    examplesOf(Array.from({ length: 2 * count }, (_, i) => [i % 5, i])).map((example, i) => ({
      ...example,
      pair: i % count, // the halves of a pair lie apart
      desirable: i >= count,
    }))

  test('keeps both halves of a pair in one batch, the chosen first, and takes each once an epoch', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 9 }), (count, batchSize) => {
        const examples = paired(count)
        const plan = makePlan({ examples, seed: 3, epochs: 1, batchSize, mismatched: false, pairs: true })
        const all = Array.from({ length: plan.steps }, (_, step) => plan.batch(step).rows)
        for (const rows of all) {
          expect(rows.length).toBeLessThanOrEqual(Math.max(2, batchSize))
          for (let i = 0; i < rows.length; i += 2) {
            const [chosen, rejected] = [examples[rows[i]!]!, examples[rows[i + 1]!]!]
            expect([chosen.pair, chosen.desirable, rejected.desirable]).toEqual([rejected.pair, true, false])
          }
        }
        expect(all.flat().sort((a, b) => a - b)).toEqual(examples.map(({ index }) => index))
      }),
    )
  })

  test('refuses rows that are no pair', () => {
    const plan = () =>
      makePlan({ examples: paired(3).slice(1), seed: 3, epochs: 1, batchSize: 4, mismatched: false, pairs: true })
    expect(plan).toThrow('a plan of pairs needs pairs only')
  })
})
