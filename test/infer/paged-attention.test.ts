import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Random } from '../../src/data/random.ts'
import { pageTokens } from '../../src/infer/cache.ts'
import { op } from '../../src/tensor/operators.ts'
import { liveTensors, scope } from '../../src/tensor/scope.ts'
import { type Dtype, Tensor } from '../../src/tensor/tensor.ts'

interface Case {
  heads: number
  keyValueHeads: number
  headSize: number
  /** Tokens of each row. */
  lengths: readonly number[]
  window?: number
  softCap?: number
  dtype?: Dtype
}

interface Row {
  queries: Float32Array
  keys: Float32Array
  values: Float32Array
}

const random = new Random('paged attention')
const noise = (count: number) => Float32Array.from({ length: count }, () => 4 * random.share() - 2)
const rounded = (values: Float32Array, dtype: Dtype) => scope(() => Tensor.from(values).to(dtype).toArray())

/** The plain formula, in JavaScript's doubles. */
function plain(
  row: Row,
  { heads, keyValueHeads, headSize, window = 0, softCap = 0 }: Case,
  position: number,
): number[] {
  const output: number[] = []
  for (let head = 0; head < heads; head++) {
    const group = Math.floor(head / (heads / keyValueHeads))
    const first = window > 0 ? Math.max(0, position - window + 1) : 0
    const scores = Array.from({ length: position + 1 - first }, (_, k) => {
      let score = 0
      for (let j = 0; j < headSize; j++)
        score +=
          row.queries[(position * heads + head) * headSize + j]! *
          row.keys[((first + k) * keyValueHeads + group) * headSize + j]!
      score *= headSize ** -0.5
      return softCap > 0 ? softCap * Math.tanh(score / softCap) : score
    })
    const most = Math.max(...scores)
    const weights = scores.map((score) => Math.exp(score - most))
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    for (let j = 0; j < headSize; j++)
      output.push(
        weights.reduce(
          (sum, weight, k) => sum + weight * row.values[((first + k) * keyValueHeads + group) * headSize + j]!,
          0,
        ) / total,
      )
  }
  return output
}

/** All rows' tokens through the kernel in chunks of random size, as prompts and continuations come; the largest difference from the formula. */
function worstDifference(setting: Case): number {
  const { heads, keyValueHeads, headSize, lengths, window = 0, softCap = 0, dtype = 'float32' } = setting
  const rows = lengths.map(
    (length): Row => ({
      queries: rounded(noise(length * heads * headSize), dtype),
      keys: rounded(noise(length * keyValueHeads * headSize), dtype),
      values: rounded(noise(length * keyValueHeads * headSize), dtype),
    }),
  )
  const most = Math.max(...lengths.map((length) => Math.ceil(length / pageTokens)))
  const order = random.permutation(lengths.length * most) // pages lie anywhere
  const padded = Math.ceil(headSize / 16) * 16
  const keyPool = op.full([order.length, keyValueHeads, headSize, pageTokens], 9, dtype)
  const valuePool = op.full([order.length, keyValueHeads, pageTokens, padded], 9, dtype)
  const pages = Tensor.from(order, [lengths.length, most])
  const done = lengths.map(() => 0)
  let worst = 0
  while (done.some((count, row) => count < lengths[row]!)) {
    const tokens = lengths.flatMap((length, row) => {
      const count = Math.min(length - done[row]!, random.pick([1, 1, 7, 40]))
      const start = done[row]!
      done[row] = start + count
      return Array.from({ length: count }, (_, i) => ({ row, position: start + i }))
    })
    const part = (of: keyof Row, width: number) => {
      const data = new Float32Array(tokens.length * width)
      for (const [i, { row, position }] of tokens.entries())
        data.set(rows[row]![of].subarray(position * width, (position + 1) * width), i * width)
      return data
    }
    const got = scope(() => {
      const tensor = (of: keyof Row, count: number) =>
        Tensor.from(part(of, count * headSize), [tokens.length, count, headSize]).to(dtype)
      const index = (of: 'row' | 'position') => Tensor.from(Int32Array.from(tokens, (token) => token[of]))
      return op
        .pagedAttention(
          tensor('queries', heads),
          tensor('keys', keyValueHeads),
          tensor('values', keyValueHeads),
          keyPool,
          valuePool,
          pages,
          index('row'),
          index('position'),
          headSize ** -0.5,
          window,
          softCap,
        )
        .toArray()
    })
    for (const [i, { row, position }] of tokens.entries()) {
      const want = plain(rows[row]!, setting, position)
      for (const [j, value] of want.entries()) worst = Math.max(worst, Math.abs(got[i * want.length + j]! - value))
    }
  }
  for (const tensor of [keyPool, valuePool, pages]) tensor.dispose()
  return worst
}

let before: number
beforeEach(() => {
  before = liveTensors()
})
afterEach(() => expect(liveTensors()).toBe(before))

describe('attention over the paged cache', () => {
  it.each<[string, Case]>([
    ['one head', { heads: 1, keyValueHeads: 1, headSize: 16, lengths: [1, 40] }],
    ['three query heads share one', { heads: 9, keyValueHeads: 3, headSize: 64, lengths: [70, 33, 5, 150] }],
    ['a head size of no multiple of 16', { heads: 4, keyValueHeads: 2, headSize: 20, lengths: [90, 64] }],
    ['many query heads on one', { heads: 40, keyValueHeads: 1, headSize: 32, lengths: [65, 31] }],
    ['a sliding window', { heads: 4, keyValueHeads: 4, headSize: 32, lengths: [100, 20, 130], window: 37 }],
    ['a window of one token', { heads: 2, keyValueHeads: 2, headSize: 16, lengths: [70], window: 1 }],
    ['a soft cap', { heads: 4, keyValueHeads: 2, headSize: 32, lengths: [80, 50], softCap: 3 }],
  ])('gives what the formula gives: %s', (_, setting) => {
    expect(worstDifference(setting)).toBeLessThan(5e-6)
  })

  it('in bfloat16 differs by the rounding of its result only', () => {
    const setting: Case = { heads: 6, keyValueHeads: 2, headSize: 64, lengths: [80, 45], dtype: 'bfloat16' }
    expect(worstDifference(setting)).toBeLessThan(2 * 2 ** -8)
  })

  it('refuses a token without a page, rather than write anywhere', () => {
    scope(() => {
      const tokens = op.zeros([1, 1, 16], 'float32')
      const pools = [op.zeros([1, 1, 16, pageTokens], 'float32'), op.zeros([1, 1, pageTokens, 16], 'float32')] as const
      const attend = (page: number, position: number) =>
        op.pagedAttention(
          tokens,
          tokens,
          tokens,
          ...pools,
          Tensor.from(Int32Array.of(page), [1, 1]),
          Tensor.from(Int32Array.of(0)),
          Tensor.from(Int32Array.of(position)),
          1,
          0,
          0,
        )
      expect(() => attend(-1, 0)).toThrow('which it has not')
      expect(() => attend(1, 0)).toThrow('beyond the pool of 1')
      expect(() => attend(0, 32)).toThrow('no place in the pages')
      expect(attend(0, 0).shape).toEqual([1, 16])
    })
  })
})
