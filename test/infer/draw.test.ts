import { describe, expect, it } from 'vitest'
import { Random } from '../../src/data/random.ts'
import { type Drawing, drawTokens } from '../../src/infer/draw.ts'
import { op } from '../../src/tensor/operators.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

/** One token a share, all from the same logits. */
function drawFrom(logits: readonly number[], shares: readonly number[], drawing: Drawing = {}, seen: number[] = []) {
  return scope(() => {
    const rows = Tensor.from(
      shares.flatMap(() => logits),
      [shares.length, logits.length],
    )
    return drawTokens(
      rows,
      drawing,
      shares,
      shares.map(() => [seen]),
    )
  })
}

const draw = (probabilities: readonly number[], shares: readonly number[], drawing: Drawing = {}) =>
  drawFrom(probabilities.map(Math.log), shares, drawing).tokens

/** 0 <= share < 1, evenly, with the last number below 1. */
const evenly = (count: number) => [...Array.from({ length: count }, (_, i) => i / count), 1 - 2 ** -53]

function counts(tokens: readonly number[], vocabulary: number): number[] {
  return Array.from({ length: vocabulary }, (_, token) => tokens.filter((drawn) => drawn === token).length)
}

/** Which tokens can be drawn. */
const support = (probabilities: readonly number[], drawing: Drawing) =>
  [...new Set(draw(probabilities, evenly(400), drawing))].sort((a, b) => a - b)

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

  it('is greedy where asked to be, and at a temperature near 0', () => {
    const settings: Drawing[] = [
      { greedy: true },
      { temperature: 1e-4 },
      { temperature: 1e-9 },
      { temperature: 1e-300 },
    ]
    for (const drawing of settings)
      expect(new Set(draw([0.3, 0.31, 0.29, 0.1], evenly(50), drawing))).toEqual(new Set([1]))
  })

  it('draws from the nucleus only, in its own proportions', () => {
    const drawn = counts(draw([0.05, 0.4, 0.15, 0.2, 0.2], evenly(1000), { topP: 0.55 }), 5)
    expect(drawn[0]).toBe(0)
    expect(drawn[2]).toBe(0)
    expect(Math.abs(drawn[1]! - 500)).toBeLessThanOrEqual(2)
  })

  it('draws each row by its own logits and share', () => {
    const logits = [0, 9, 0, 0, 0, 9].map((value) => value * 10)
    const { tokens } = scope(() => drawTokens(Tensor.from(logits, [2, 3]), { topP: 0.9 }, [0, 0.99]))
    expect(tokens).toEqual([1, 2])
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('refuses logits of %s', (bad) => {
    for (const greedy of [false, true])
      expect(() => drawFrom([0, bad, 1], [0.5], { greedy })).toThrow(/NaN or infinite/)
  })

  it.each([
    [{ topP: 0.01 }, [1]],
    [{ topP: 0.55 }, [1, 3]],
    [{ topP: 0.79 }, [1, 3]],
    [{ topP: 0.81 }, [1, 2, 3]],
    [{ topP: 0.96 }, [0, 1, 2, 3]],
    [{ topK: 1 }, [1]],
    [{ topK: 3 }, [1, 2, 3]],
    [{ topK: 9 }, [0, 1, 2, 3]],
    [{ minP: 0.59 }, [1, 3]],
    [{ minP: 0.61 }, [1]],
    [{ minP: 0.05 }, [0, 1, 2, 3]],
    [{ topK: 2, topP: 0.6 }, [1]], // 0.5 of the 0.8 that two tokens hold
    [{ topK: 3, minP: 0.4 }, [1, 3]],
  ] as [Drawing, number[]][])('with %o draws from the tokens %o', (drawing, expected) => {
    expect(support([0.05, 0.5, 0.15, 0.3], drawing)).toEqual(expected)
  })

  it('takes tokens that are as likely as the last of the nucleus', () => {
    expect(support([0.3, 0.4, 0.3], { topP: 0.5 })).toEqual([0, 1, 2])
  })

  it('finds the nucleus of a large vocabulary, peaked or flat, as a full sort finds it', () => {
    const random = new Random('nucleus')
    for (const spread of [0.01, 1, 5]) {
      const size = 5000
      const logits = Array.from({ length: size }, () => spread * 8 * random.share())
      const probabilities = scope(() => op.softmax(Tensor.from(logits), 0).toArray())
      const order = [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]!)
      let held = 0
      const inside = order.filter((token) => {
        const enters = held < 0.6
        held += probabilities[token]!
        return enters
      })
      const drawn = drawFrom(logits, evenly(600), { topP: 0.6 }).tokens
      const known = new Set(inside)
      for (const token of drawn) expect(known.has(token)).toBe(true)
      expect(drawn[0]).toBe(Math.min(...inside))
      const last = drawFrom(logits, [1 - 2 ** -53], { topP: 0.6 }).tokens[0]!
      expect(last).toBe(Math.max(...inside))
    }
  })

  it('makes tokens that were there before less likely, once each, whichever sign their logits have', () => {
    const logits = [2, 1.5, -1, -1.5]
    const penalised = (seen: number[]) =>
      counts(drawFrom(logits, evenly(4000), { repetitionPenalty: 2 }, seen).tokens, 4)
    const want = (of: number[]) => of.map((x) => Math.exp(x) / of.reduce((sum, other) => sum + Math.exp(other), 0))
    for (const [token, share] of want([1, 1.5, -2, -1.5]).entries())
      expect(Math.abs(penalised([0, 2, 0, 0])[token]! / 4001 - share)).toBeLessThan(0.002)
    expect(drawFrom(logits, [0], { repetitionPenalty: 2, greedy: true }, [0]).tokens).toEqual([1])
    expect(() => drawFrom(logits, [0], { repetitionPenalty: 2 }, [4])).toThrow('token 4 is not in the vocabulary of 4')
  })

  it('tells the log-probability under the model itself', () => {
    const random = new Random('logps')
    const logits = Array.from({ length: 999 }, () => 20 * random.share() - 10)
    const want = scope(() => op.logSoftmax(Tensor.from(logits), 0).toArray())
    for (const drawing of [{}, { greedy: true }, { temperature: 0.3, topK: 5, repetitionPenalty: 1.5 }]) {
      const { tokens, logps } = drawFrom(logits, [0.1, 0.7, 0.99], drawing, [3])
      for (const [i, token] of tokens.entries()) expect(logps[i]!).toBeCloseTo(want[token]!, 5)
    }
  })

  it('draws frequencies that a chi-square test finds no fault with', () => {
    const random = new Random('chi-square')
    const logits = Array.from({ length: 40 }, () => 3 * random.share())
    const draws = 40_000
    const probabilities = scope(() => op.softmax(Tensor.from(logits).div(0.8), 0).toArray())
    const drawn = counts(
      drawFrom(
        logits,
        Array.from({ length: draws }, () => random.share()),
        { temperature: 0.8 },
      ).tokens,
      40,
    )
    const statistic = drawn.reduce(
      (sum, count, token) => sum + (count - draws * probabilities[token]!) ** 2 / (draws * probabilities[token]!),
      0,
    )
    expect(statistic).toBeLessThan(72.1) // 99.9 % point of chi-square with 39 degrees of freedom
    expect(statistic).toBeGreaterThan(15.1) // and not too good either: the 0.1 % point is 16.3 less rounding
  })
})
