import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AttentionForm, type Segment, segmentAttention } from '../../src/model/attention.ts'
import type { Activation } from '../../src/model/config.ts'
import { memoryUse } from '../../src/tensor/engine.ts'
import { op } from '../../src/tensor/operators.ts'
import { Generator } from '../../src/tensor/random.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import { type Dtype, Tensor } from '../../src/tensor/tensor.ts'
import * as plain from './plain.ts'

// The kernels against compositions of libtorch's operators: outputs and gradients, on random shapes.

let seed = 0
function random(shape: number[], scale = 1): Tensor {
  return op.normal(op.empty(shape, 'float32'), 0, scale, new Generator(seed++).index)
}

/** The largest difference, relative to the largest expected value. */
function distance(actual: Tensor, expected: Tensor): number {
  const [a, b] = [actual.detach().toArray(), expected.detach().toArray()]
  expect(actual.shape).toEqual(expected.shape)
  const most = b.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3)
  return a.reduce(
    (worst, value, i) => (Number.isNaN(value) ? Number.NaN : Math.max(worst, Math.abs(value - b[i]!) / most)),
    0,
  )
}

type Run = (inputs: Tensor[]) => Tensor[]

/**
 * Runs a kernel in `dtype` and its composition in float32, on the same values, and compares outputs and the gradients of all inputs with
 * random upstream gradients.
 */
function compare(kernel: Run, composition: Run, inputs: { tensor: Tensor; master?: boolean }[], dtype: Dtype): void {
  const tolerance = dtype === 'float32' ? 1e-5 : 2e-2
  const half = inputs.map(({ tensor, master }) => (master ? tensor : tensor.to(dtype)))
  const own = half.map((tensor) => tensor.clone().withGrad())
  const theirs = half.map((tensor) => tensor.to('float32').clone().withGrad())
  const outputs = kernel(own)
  const expected = composition(theirs)
  const upstream = expected.map((output) => random(output.shape).to(dtype).to('float32'))
  const weighed = (all: Tensor[]) =>
    all.map((output, i) => output.to('float32').mul(upstream[i]!).sum()).reduce((sum, value) => sum.add(value))
  for (const [i, output] of outputs.entries()) expect(distance(output, expected[i]!)).toBeLessThan(tolerance)
  weighed(outputs).backward()
  weighed(expected).backward()
  for (const [i, input] of own.entries()) expect(distance(input.grad!, theirs[i]!.grad!)).toBeLessThan(tolerance)
}

const dtypes = fc.constantFrom<Dtype>('float32', 'bfloat16')
const check = <T extends unknown[]>(property: fc.IProperty<T>, numRuns = 40) =>
  fc.assert(property, { numRuns, seed: 1 })

test('linear layers, small products and those left to the BLAS', () => {
  const rows = fc.constantFrom(1, 7, 24, 130, 700)
  const width = fc.constantFrom(16, 32, 64, 96, 160, 200) // multiples of 32 are multiplied here, others by the BLAS
  check(
    fc.property(rows, width, width, fc.boolean(), dtypes, (tokens, inputs, outputs, biased, dtype) =>
      scope(() => {
        const x = { tensor: random([tokens, inputs]) }
        const weight = { tensor: random([outputs, inputs], inputs ** -0.5) }
        const bias = biased ? [{ tensor: random([outputs]) }] : []
        compare(
          ([x, weight, bias]) => [op.linear(x!, weight!, bias ?? null)],
          ([x, weight, bias]) => {
            const product = x!.matmul(weight!.transpose(0, 1))
            return [bias ? product.add(bias) : product]
          },
          [x, weight, ...bias],
          dtype,
        )
      }),
    ),
  )
})

test('large bfloat16 products: sums in float32, rounded once', () =>
  scope(() => {
    // More columns than fit a cache at once, and rows, columns and depths beside multiples of a tile.
    for (const [tokens, inputs, outputs] of [
      [300, 640, 2600],
      [1057, 96, 577],
      [40, 64, 9001], // the gradient of x sums over more outputs than are packed at a time
    ] as const) {
      const [x, weight, upstream] = [
        [tokens, inputs],
        [outputs, inputs],
        [tokens, outputs],
      ].map((shape) => random(shape).to('bfloat16')) as [Tensor, Tensor, Tensor]
      const [own, theirs] = [[x, weight] as const, [x.to('float32'), weight.to('float32')] as const].map((pair) =>
        pair.map((tensor) => tensor.detach().withGrad()),
      ) as [[Tensor, Tensor], [Tensor, Tensor]]
      const product = op.linear(...own)
      const exact = theirs[0].matmul(theirs[1].transpose(0, 1))
      product.backward(upstream)
      exact.backward(upstream.to('float32'))
      // Half a unit in the last of bfloat16's 8 bits of the largest value.
      expect(distance(product, exact)).toBeLessThan(2 ** -8)
      own.forEach((tensor, i) => {
        expect(distance(tensor.grad!, theirs[i]!.grad!)).toBeLessThan(2 ** -8)
      })
    }
  }))

test('the output head in chunks: the gradient of a bfloat16 weight adds up in float32, whatever the chunk', () =>
  scope(() => {
    const [states, head] = [random([96, 128]).to('bfloat16'), random([2100, 128]).mul(0.1).to('bfloat16')]
    const targets = Tensor.from(
      Array.from({ length: 96 }, (_, i) => (i * 331) % 2100),
      undefined,
      'int64',
    )
    const gradients = (chunk: number, dtype: 'bfloat16' | 'float32') => {
      const [x, weight] = [states, head].map((tensor) => tensor.to(dtype).detach().withGrad()) as [Tensor, Tensor]
      op.tokenLogps(x, weight, targets, chunk).sum().backward()
      return [x.grad!, weight.grad!] as const
    }
    const exact = gradients(96, 'float32')
    for (const chunk of [96, 40, 7])
      gradients(chunk, 'bfloat16').forEach((gradient, i) => {
        expect(distance(gradient, exact[i]!)).toBeLessThan(2 ** -6)
      })
  }))

const flags = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : ''
const hasTiles = / amx_bf16 /.test(flags)
const multipliesBfloat16 = hasTiles || / avx512_bf16 /.test(flags)

test('bfloat16 products of few tokens and a weight: rounded once; in tiles a token alone gives what it gives among others', () =>
  scope(() => {
    for (const [inputs, outputs] of [
      [576, 1000],
      [96, 1537],
      [2048, 133],
    ] as const) {
      const [all, weight] = [random([128, inputs]).to('bfloat16'), random([outputs, inputs]).to('bfloat16')]
      const exact = all.to('float32').matmul(weight.to('float32').transpose(0, 1))
      const whole = op.linear(all, weight)
      expect(distance(whole, exact)).toBeLessThan(2 ** -8)
      for (const tokens of [1, 17, 32, 63]) {
        const [product, same] = [op.linear(all.narrow(0, 0, tokens), weight), whole.narrow(0, 0, tokens)]
        expect(distance(product, exact.narrow(0, 0, tokens))).toBeLessThan(2 ** -8)
        if (hasTiles) expect(product.toArray()).toEqual(same.toArray())
      }
    }
  }))

test('RMSNorm, plain and with the residual sum', () => {
  const shapes = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 4, max: 80 })) // of one column the gradient is 0
  check(
    fc.property(
      shapes,
      dtypes,
      fc.constantFrom(0 as const, 1 as const),
      fc.boolean(),
      ([rows, width], dtype, offset, residual) =>
        scope(() => {
          const inputs = [
            { tensor: random([rows, width]) },
            { tensor: random([width]), master: true },
            ...(residual ? [{ tensor: random([rows, width]) }] : []),
          ]
          compare(
            ([x, scale, delta]) =>
              delta ? op.addRmsNorm(x!, delta, scale!, 1e-5, offset) : [op.rmsNorm(x!, scale!, 1e-5, offset)],
            ([x, scale, delta]) => {
              const total = delta ? x!.add(delta) : x!
              const normed = plain.rmsNorm(total, scale!.add(offset), 1e-5)
              return delta ? [total, normed] : [normed]
            },
            inputs,
            dtype,
          )
        }),
    ),
  )
})

test('the norm of a float32 stream in the type of the products', () => {
  scope(() => {
    const [x, scale] = [random([5, 33]), random([33])]
    const normed = op.rmsNorm(x, scale, 1e-6, 0, 'bfloat16')
    expect(normed.dtype).toBe('bfloat16')
    expect(distance(normed, plain.rmsNorm(x, scale, 1e-6))).toBeLessThan(1e-2)
  })
})

test('rotary positions, of whole heads and of a part', () => {
  const shapes = fc.record({
    tokens: fc.integer({ min: 1, max: 20 }),
    heads: fc.integer({ min: 1, max: 4 }),
    groups: fc.integer({ min: 1, max: 3 }),
    half: fc.integer({ min: 1, max: 24 }),
    rest: fc.integer({ min: 0, max: 9 }),
  })
  check(
    fc.property(shapes, dtypes, ({ tokens, heads, groups, half, rest }, dtype) =>
      scope(() => {
        const angles = random([tokens, 1, half])
        const both = op.cat([angles, angles], 2)
        const rotation = { cos: op.cos(both), sin: op.sin(both) }
        const size = 2 * half + rest
        compare(
          ([queries, keys]) => op.rotaryEmbedding(queries!, keys!, rotation.cos, rotation.sin),
          ([queries, keys]) => [plain.rotate(queries!, rotation), plain.rotate(keys!, rotation)],
          [{ tensor: random([tokens, heads, size]) }, { tensor: random([tokens, groups, size]) }],
          dtype,
        )
      }),
    ),
  )
})

test('gated activations, of two tensors and of two halves of one', () => {
  const activations = fc.constantFrom<Activation>('silu', 'gelu', 'gelu_tanh', 'relu')
  const shapes = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 70 }))
  check(
    fc.property(shapes, activations, dtypes, fc.boolean(), ([rows, width], activation, dtype, fused) =>
      scope(() => {
        const halves = (x: Tensor) => [x.narrow(1, 0, width), x.narrow(1, width, width)]
        const inputs = fused ? [random([rows, 2 * width], 3)] : [random([rows, width], 3), random([rows, width], 3)]
        const parts = (given: Tensor[]) => (fused ? halves(given[0]!) : given) as [Tensor, Tensor]
        compare(
          (given) => [op.gatedActivation(...parts(given), activation)],
          (given) => [plain.gated(...parts(given), activation)],
          inputs.map((tensor) => ({ tensor })),
          dtype,
        )
      }),
    ),
  )
})

test('gated activations through a matrix', () => {
  const sizes = fc.tuple(...[30, 70, 40].map((max) => fc.integer({ min: 1, max })))
  const activations = fc.constantFrom<Activation>('silu', 'gelu', 'gelu_tanh', 'relu')
  check(
    fc.property(sizes, activations, dtypes, ([rows, width, outputs], activation, dtype) =>
      scope(() => {
        const inputs = [random([rows!, width!]), random([rows!, width!]), random([outputs!, width!])]
        compare(
          ([gate, up, weight]) => [op.gatedLinear(gate!, up!, activation, weight!)],
          ([gate, up, weight]) => [plain.gated(gate!, up!, activation).matmul(weight!.transpose(0, 1))],
          inputs.map((tensor) => ({ tensor })),
          dtype,
        )
      }),
    ),
  )
})

test('a matrix that is computed with as a rounded copy gets its gradient in float32, added up over passes', () =>
  scope(() => {
    for (const [tokens, inputs, outputs] of [
      [300, 160, 417], // large enough for products of this project's own; more outputs than inputs, and fewer
      [300, 417, 160],
      [9, 24, 40],
    ] as const) {
      const [x, up, upstream] = [
        [tokens, inputs],
        [tokens, inputs],
        [tokens, outputs],
      ].map((shape) => random(shape).to('bfloat16')) as [Tensor, Tensor, Tensor]
      const weight = random([outputs, inputs])
      const gradientOf = (product: (copy: Tensor, master: Tensor) => Tensor) => {
        const master = weight.clone().withGrad()
        const copy = noGrad(() => master.to('bfloat16'))
        product(copy, master).backward(upstream)
        const once = master.grad!.clone()
        product(copy, master).backward(upstream)
        expect(distance(master.grad!, once.mul(2))).toBeLessThan(1e-6)
        return once
      }
      const exact = (x: Tensor) => upstream.to('float32').transpose(0, 1).matmul(x.to('float32'))
      // Where bfloat16 is multiplied natively, nothing is rounded after the sum; what is gated is rounded before.
      const tolerance = multipliesBfloat16 && tokens > 32 ? 1e-5 : 2 ** -8
      expect(
        distance(
          gradientOf((copy, master) => op.linear(x, copy, null, master)),
          exact(x),
        ),
      ).toBeLessThan(tolerance)
      const gated = op.gatedActivation(x, up, 'silu')
      const through = gradientOf((copy, master) => op.gatedLinear(x, up, 'silu', copy, master))
      expect(distance(through, exact(gated))).toBeLessThan(tolerance)
    }
  }))

test('token log-probabilities with a rounded copy of the head: the gradient in float32, whatever the chunk, added up', () =>
  scope(() => {
    const [states, head] = [random([96, 128]).to('bfloat16'), random([2100, 128]).mul(0.1)]
    const targets = Tensor.from(
      Array.from({ length: 96 }, (_, i) => (i * 331) % 2100),
      undefined,
      'int64',
    )
    const exact = head.to('bfloat16').to('float32').withGrad()
    op.tokenLogps(states.to('float32'), exact, targets, 96).sum().backward()
    for (const chunk of [96, 40, 7]) {
      const master = head.clone().withGrad()
      const copy = noGrad(() => master.to('bfloat16'))
      for (const times of [1, 2]) {
        op.tokenLogps(states, copy, targets, chunk, 0, master).sum().backward()
        expect(distance(master.grad!, exact.grad!.mul(times))).toBeLessThan(2 ** -6)
      }
    }
  }))

describe('a rounded copy that is let go before the backward pass', () => {
  const targets = () =>
    Tensor.from(
      Array.from({ length: 48 }, (_, i) => i * 5),
      undefined,
      'int64',
    )
  const products: Record<string, (x: Tensor, copy: Tensor, master: Tensor) => Tensor> = {
    linear: (x, copy, master) => op.square(op.linear(x, copy, null, master).to('float32')).sum(),
    'gated linear': (x, copy, master) => op.square(op.gatedLinear(x, x, 'silu', copy, master).to('float32')).sum(),
    'token log-probabilities': (x, copy, master) => op.tokenLogps(x, copy, targets(), 20, 0, master).sum(),
  }
  test.each(Object.entries(products))('is not kept, and its gradients are the same: %s', (_, product) =>
    scope(() => {
      const [x, weight] = [random([48, 128]).to('bfloat16'), random([512, 128])]
      const gradients = (letGo: boolean) => {
        const [input, master] = [x.clone().withGrad(), weight.clone().withGrad()]
        const copy = noGrad(() => master.to('bfloat16'))
        const loss = product(input, copy, master)
        const before = memoryUse().live
        if (letGo) copy.dispose()
        const freed = before - memoryUse().live
        loss.backward()
        return { freed, x: input.grad!.toArray(), weight: master.grad!.toArray() }
      }
      const [held, gone] = [gradients(false), gradients(true)]
      expect(gone.freed).toBeGreaterThanOrEqual(512 * 128 * 2)
      expect(gone.x).toEqual(held.x)
      expect(gone.weight).toEqual(held.weight)
      expect(held.weight.some((value) => value !== 0)).toBe(true)
    }),
  )

  test('is not made again from a master that has changed since', () =>
    scope(() => {
      const master = random([240, 96]).withGrad()
      const copy = noGrad(() => master.to('bfloat16'))
      const loss = op.linear(random([48, 96]).to('bfloat16').withGrad(), copy, null, master).sum()
      copy.dispose()
      noGrad(() => op.mulScalarInPlace(master, 2))
      expect(() => loss.backward()).toThrow(/\[240, 96\] was changed between forward and backward/)
    }))
})

test('rows of an embedding: tokens that come again add up, and so do passes', () => {
  const tokens = fc.array(fc.nat(20), { minLength: 1, maxLength: 300 })
  check(
    fc.property(tokens, fc.integer({ min: 1, max: 70 }), (ids, width) =>
      scope(() => {
        const [own, theirs] = [random([21, width]).withGrad(), random([21, width]).withGrad()]
        const indices = Tensor.from(Int32Array.from(ids), undefined, 'int64')
        for (let pass = 0; pass < 2; pass++) {
          const upstream = random([ids.length, width])
          op.tokenEmbedding(own, indices).mul(2).backward(upstream)
          op.embedding(theirs, indices).mul(2).backward(upstream)
        }
        expect(distance(own.grad!, theirs.grad!)).toBeLessThan(1e-6)
        expect(op.tokenEmbedding(own, indices).toArray()).toEqual(op.embedding(own, indices).toArray())
      }),
    ),
  )
})

test('a weight and its master must fit', () =>
  scope(() => {
    const [x, copy] = [random([2, 4]), random([3, 4])]
    expect(() => op.linear(x, copy, null, random([4, 3]).withGrad())).toThrow(/one shape, got \[3, 4\] and \[4, 3\]/)
    const notALeaf = random([3, 4]).withGrad().mul(2)
    expect(() => op.linear(x, copy, null, notALeaf).backward(random([2, 3]))).toThrow(/float32 leaves/)
  }))

test('an unknown activation is named', () => {
  scope(() => expect(() => op.gatedActivation(random([2, 2]), random([2, 2]), 'tanh' as 'silu')).toThrow(/got 'tanh'/))
})

/** Prompts with some completions each, as pack() lays them out; a completion may be a prompt of others. */
const trees = fc
  .array(
    fc.record({
      length: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 60, max: 140 })),
      parent: fc.option(fc.nat(1000), { nil: null }),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((nodes) => {
    let start = 0
    return nodes.map(({ length, parent }, i): Segment => {
      const segment = { start, length, parent: parent === null || i === 0 ? -1 : parent % i }
      start += length
      return segment
    })
  })
/** Only such trees as the composition knows: parents are roots. */
const twoLevels = trees.map((segments) =>
  segments.map((segment) =>
    segment.parent >= 0 && segments[segment.parent]!.parent >= 0 ? { ...segment, parent: -1 } : segment,
  ),
)
const heads = fc.record({
  groups: fc.integer({ min: 1, max: 2 }),
  shared: fc.integer({ min: 1, max: 3 }),
  size: fc.integer({ min: 1, max: 40 }),
})
const forms = fc.record({
  scale: fc.double({ min: 0.05, max: 0.5, noNaN: true }),
  softCap: fc.option(fc.double({ min: 1, max: 20, noNaN: true })),
  window: fc.option(fc.integer({ min: 1, max: 150 })),
})

function attentionInputs(tokens: number, { groups, shared, size }: { groups: number; shared: number; size: number }) {
  return [groups * shared, groups, groups].map((count) => ({ tensor: random([tokens, count, size]) }))
}

test('segment attention', () => {
  check(
    fc.property(twoLevels, heads, forms, dtypes, (segments, head, form, dtype) =>
      scope(() => {
        const tokens = segments.reduce((sum, { length }) => sum + length, 0)
        const run = (attention: ReturnType<typeof segmentAttention>) => (given: Tensor[]) => [
          attention(0, given[0]!, given[1]!, given[2]!, form as AttentionForm),
        ]
        compare(
          run(segmentAttention(segments)),
          run(plain.plainAttention(segments)),
          attentionInputs(tokens, head),
          dtype,
        )
      }),
    ),
    60,
  )
})

test('segment attention, a tree of any depth, is that of each path by itself', () => {
  check(
    fc.property(trees, heads, forms, (segments, head, form) =>
      scope(() => {
        const tokens = segments.reduce((sum, { length }) => sum + length, 0)
        const inputs = attentionInputs(tokens, head).map(({ tensor }) => tensor) as [Tensor, Tensor, Tensor]
        const together = segmentAttention(segments)(0, ...inputs, form)
        for (const segment of segments) {
          const path: Segment[] = []
          for (let at: Segment | undefined = segment; at; at = segments[at.parent]) path.unshift(at)
          const part = (x: Tensor) =>
            op.cat(
              path.map(({ start, length }) => x.narrow(0, start, length)),
              0,
            )
          const length = path.reduce((sum, part) => sum + part.length, 0)
          const alone = plain.plainAttention([{ start: 0, length, parent: -1 }])
          const [queries, keys, values] = inputs.map(part) as [Tensor, Tensor, Tensor]
          const expected = alone(0, queries, keys, values, form).narrow(0, length - segment.length, segment.length)
          expect(distance(together.narrow(0, segment.start, segment.length), expected)).toBeLessThan(1e-5)
        }
      }),
    ),
    20,
  )
})

test('segments that leave the stream, or do not cover it, are refused', () => {
  scope(() => {
    const inputs = attentionInputs(4, { groups: 1, shared: 1, size: 4 }).map(({ tensor }) => tensor) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const form = { scale: 1, softCap: null, window: null }
    const attend = (segments: Segment[]) => segmentAttention(segments)(0, ...inputs, form)
    expect(() => attend([{ start: 2, length: 3, parent: -1 }])).toThrow(/leaves its stream of 4 tokens/)
    expect(() => attend([{ start: 0, length: 3, parent: -1 }])).toThrow(/cover 3 of 4/)
    expect(() => attend([{ start: 0, length: 4, parent: 0 }])).toThrow(/does not come before it/)
  })
})
