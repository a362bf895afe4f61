import { describe, expect, it } from 'vitest'
import { drawTokens, likeliestTokens, nucleus } from '../../src/infer/draw.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

/** As many logits rows as shares, all of these probabilities. */
function draw(
  probabilities: readonly number[],
  shares: readonly number[],
  { temperature = 1, topP = 1 } = {},
): number[] {
  return scope(() => {
    const logits = shares.flatMap(() => probabilities.map(Math.log))
    return drawTokens(Tensor.from(logits, [shares.length, probabilities.length]), { temperature, topP }, shares)
  })
}

/** 0 <= share < 1, evenly, with the last number below 1. */
const evenly = (count: number) => [...Array.from({ length: count }, (_, i) => i / count), 1 - 2 ** -53]

function counts(tokens: readonly number[], vocabulary: number): number[] {
  return Array.from({ length: vocabulary }, (_, token) => tokens.filter((drawn) => drawn === token).length)
}

function insideNucleus(rows: readonly number[][], topP: number): number[][] {
  return scope(() => {
    const vocabulary = rows[0]!.length
    const kept = nucleus(Tensor.from(rows.flat(), [rows.length, vocabulary]), topP).toArray()
    return rows.map((_, row) => rows[0]!.flatMap((_, token) => (kept[row * vocabulary + token]! > 0 ? [token] : [])))
  })
}

describe('drawTokens', () => {
  it('draws each token as often as its probability says', () => {
    const drawn = counts(draw([0.1, 0.4, 0.2, 0.3], evenly(1000)), 4)
    for (const [token, expected] of [100, 400, 200, 300].entries())
      expect(Math.abs(drawn[token]! - expected)).toBeLessThanOrEqual(2)
  })

  it('divides the logits by the temperature', () => {
    // At temperature 1/2 probabilities are squared and scaled: 1/10 and 9/10.
    const drawn = counts(draw([0.25, 0.75], evenly(1000), { temperature: 0.5 }), 2)
    expect(Math.abs(drawn[0]! - 100)).toBeLessThanOrEqual(2)
  })

  it('is greedy at a temperature near 0', () => {
    for (const temperature of [1e-4, 1e-9, 1e-300])
      expect(new Set(draw([0.3, 0.31, 0.29, 0.1], evenly(50), { temperature }))).toEqual(new Set([1]))
  })

  it('draws from the nucleus only, in its own proportions', () => {
    const drawn = counts(draw([0.05, 0.4, 0.15, 0.2, 0.2], evenly(1000), { topP: 0.55 }), 5)
    expect(drawn[0]).toBe(0)
    expect(drawn[2]).toBe(0)
    expect(Math.abs(drawn[1]! - 500)).toBeLessThanOrEqual(2)
  })

  it('draws each row by its own logits and share', () => {
    const logits = [0, 9, 0, 0, 0, 9].map((value) => value * 10)
    const tokens = scope(() => drawTokens(Tensor.from(logits, [2, 3]), { temperature: 1, topP: 0.9 }, [0, 0.99]))
    expect(tokens).toEqual([1, 2])
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('refuses logits of %s', (bad) => {
    scope(() => {
      const logits = Tensor.from([0, bad, 1], [1, 3])
      expect(() => drawTokens(logits, { temperature: 1, topP: 1 }, [0.5])).toThrow(/NaN or infinite/)
      expect(() => likeliestTokens(logits)).toThrow(/NaN or infinite/)
    })
  })
})

describe('nucleus', () => {
  const probabilities = [0.05, 0.5, 0.15, 0.3]

  it.each([
    [0.01, [1]],
    [0.45, [1]],
    [0.55, [1, 3]],
    [0.79, [1, 3]],
    [0.81, [1, 2, 3]],
    [0.96, [0, 1, 2, 3]],
  ])('is the smallest set of likely tokens that reaches %s', (topP, expected) => {
    expect(insideNucleus([probabilities], topP)).toEqual([expected])
  })

  it('takes tokens that are as likely as its last one', () => {
    expect(insideNucleus([[0.3, 0.4, 0.3]], 0.5)).toEqual([[0, 1, 2]])
  })

  it('is found in a large vocabulary, whatever the size it has in each row', () => {
    const size = 5000
    const peaked = Array.from({ length: size }, (_, i) => 0.5 ** (((i * 7) % size) + 1))
    const flat = Array.from({ length: size }, (_, i) => (2 * (((i * 7) % size) + 1)) / size / (size + 1))
    const [few, many] = insideNucleus([peaked, flat], 0.6) as [number[], number[]]
    expect(few.length).toBe(2)
    // Of n probabilities proportional to n, n - 1, ..., the largest k hold 1 - ((n - k) / n)^2.
    expect(Math.abs(many.length - size * (1 - Math.sqrt(0.4)))).toBeLessThan(2)
    const [smallest] = many.map((token) => flat[token]!).sort((a, b) => a - b)
    expect(flat.filter((probability) => probability >= smallest!).length).toBe(many.length)
  })
})
