import fc from 'fast-check'
import { expect, test } from 'vitest'
import { microBatches, pack } from '../../src/data/pack.ts'
import type { Sequence } from '../../src/data/types.ts'
import { sequencesOf } from '../sequences.ts'

const token = fc.integer({ min: 0, max: 9 })
/** Rows of a few prompts, in any order. */
const sequences = sequencesOf(token, { prompts: 4, promptTokens: 6, rows: 10, completionTokens: 5 })

test('every target sees its own prompt and completion before it, and nothing else', () => {
  fc.assert(
    fc.property(sequences, (given) => {
      const packed = pack(given)
      const segmentOf = (at: number) => packed.segments.find(({ start, length }) => at >= start && at < start + length)!
      const seenFrom = (at: number): number[] => {
        const { start, parent } = segmentOf(at)
        const before =
          parent < 0
            ? []
            : Array.from(
                packed.tokens.subarray(packed.segments[parent]!.start).subarray(0, packed.segments[parent]!.length),
              )
        return [...before, ...packed.tokens.subarray(start, at + 1)]
      }
      const targetsOf = new Map<number, { seen: number[]; target: number; position: number }[]>()
      for (const [i, at] of packed.targetPositions.entries()) {
        const row = packed.rows[packed.targetRow[i]!]!
        const list = targetsOf.get(row) ?? []
        list.push({ seen: seenFrom(at), target: packed.targets[i]!, position: packed.positions[at]! })
        targetsOf.set(row, list)
      }
      for (const { prompt, completion, row } of given) {
        const whole = [...prompt, ...completion]
        const want = Array.from(completion, (target, i) => {
          const seen = whole.slice(0, prompt.length + i)
          return { seen, target, position: seen.length - 1 }
        })
        expect(targetsOf.get(row)).toEqual(want)
      }
    }),
  )
})

test('a prompt is in the stream once, and no last completion token is', () => {
  fc.assert(
    fc.property(sequences, (given) => {
      const prompts = new Map(given.map(({ promptGroup, prompt }) => [promptGroup, prompt.length]))
      const ofPrompts = [...prompts.values()].reduce((sum, length) => sum + length, 0)
      const ofCompletions = given.reduce((sum, { completion }) => sum + completion.length - 1, 0)
      expect(pack(given).tokens).toHaveLength(ofPrompts + ofCompletions)
    }),
  )
})

test('micro-batches hold every row once, within the budget unless a row alone is over it', () => {
  fc.assert(
    fc.property(sequences, fc.integer({ min: 1, max: 40 }), (given, budget) => {
      const batches = microBatches(given, budget)
      expect(
        batches
          .flat()
          .map(({ row }) => row)
          .sort((a, b) => a - b),
      ).toEqual(given.map(({ row }) => row))
      for (const batch of batches) if (batch.length > 1) expect(pack(batch).tokens.length).toBeLessThanOrEqual(budget)
    }),
  )
})

const sequence = (row: number, promptGroup: number, prompt: number[], completion: number[]): Sequence => ({
  row,
  promptGroup,
  prompt: Int32Array.from(prompt),
  completion: Int32Array.from(completion),
})

test('shared prompts have child segments, a lone completion is one with its prompt, a single shared token has none', () => {
  const packed = pack([
    sequence(5, 0, [1, 2], [3, 4, 9]),
    sequence(7, 1, [6], [7, 8]),
    sequence(6, 0, [1, 2], [5, 9]),
    sequence(8, 0, [1, 2], [9]),
  ])
  expect(packed.segments).toEqual([
    { start: 0, length: 2, parent: -1 },
    { start: 2, length: 2, parent: 0 },
    { start: 4, length: 1, parent: 0 },
    { start: 5, length: 2, parent: -1 },
  ])
  expect(packed).toMatchObject({
    tokens: Int32Array.of(1, 2, 3, 4, 5, 6, 7),
    positions: Int32Array.of(0, 1, 2, 3, 2, 0, 1),
    rows: Int32Array.of(5, 6, 8, 7),
    targets: Int32Array.of(3, 4, 9, 5, 9, 9, 7, 8),
    targetPositions: Int32Array.of(1, 2, 3, 1, 4, 1, 5, 6),
    targetRow: Int32Array.of(0, 0, 0, 1, 1, 2, 3, 3),
  })
})

test('micro-batches bring the completions of a prompt together, counting it once, and are even', () => {
  const prompt = Array.from({ length: 10 }, (_, i) => i)
  const rows = Array.from({ length: 8 }, (_, row) => sequence(row, row % 2, [...prompt, row % 2], [1, 2, 3]))
  const batches = microBatches(rows, 17) // 11 tokens of the prompt, 2 of each completion
  expect(batches.map((batch) => batch.map(({ row }) => row))).toEqual([
    [0, 2],
    [4, 6],
    [1, 3],
    [5, 7],
  ])
})

test('of a prompt that another stream has, only the last token is computed again', () => {
  const rows = [sequence(0, 3, [1, 2, 6], [3, 4, 9]), sequence(1, 4, [6], [7, 8]), sequence(2, 3, [1, 2, 6], [5])]
  const elsewhere = new Map([
    [3, 40],
    [4, 50],
  ])
  expect(pack(rows, elsewhere)).toMatchObject({
    segments: [
      { start: 40, length: 2, parent: -1, foreign: true },
      { start: 0, length: 3, parent: 0 },
      { start: 3, length: 1, parent: 0 },
      { start: 4, length: 2, parent: -1 },
    ],
    tokens: Int32Array.of(6, 3, 4, 6, 6, 7),
    positions: Int32Array.of(2, 3, 4, 2, 0, 1),
    rows: Int32Array.of(0, 2, 1),
    targets: Int32Array.of(3, 4, 9, 5, 7, 8),
    targetPositions: Int32Array.of(0, 1, 2, 3, 4, 5),
    targetRow: Int32Array.of(0, 0, 0, 1, 2, 2),
  })
})
