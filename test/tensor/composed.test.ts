import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compositions, op } from '../../src/tensor/operators.ts'
import { Generator } from '../../src/tensor/random.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import { type Dtype, Tensor } from '../../src/tensor/tensor.ts'

// What computes on devices other than the processor, against the processor's kernels: outputs and gradients, on random inputs. Here both run on
// the processor; attention by libtorch's CUDA kernels is the one part that only a GPU shows (test/device).

const composed = compositions()
let seed = 0
function random(shape: number[], scale = 1): Tensor {
  return op.normal(op.empty(shape, 'float32'), 0, scale, new Generator(seed++).index)
}

/** The largest difference, relative to the largest expected value. */
function distance(actual: Tensor, expected: Tensor): number {
  expect(actual.shape).toEqual(expected.shape)
  expect(actual.dtype).toBe(expected.dtype)
  const [a, b] = [actual.detach().toArray(), expected.detach().toArray()]
  const most = b.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3)
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!) / most), 0)
}

type Run = (kernels: typeof composed, inputs: Tensor[]) => Tensor[]

/** Runs kernels and compositions on the same values, and compares outputs and the gradients of all inputs. */
function compare(run: Run, inputs: readonly Tensor[], tolerance: number): void {
  const results = [op, composed].map((kernels) => {
    const leaves = inputs.map((input) => input.clone().withGrad())
    return { leaves, outputs: run(kernels, leaves) }
  })
  const [kernel, composition] = results as [(typeof results)[0], (typeof results)[0]]
  const upstream = kernel.outputs.map((output) => random(output.shape))
  for (const { outputs } of results) {
    const parts = outputs.map((output, i) => output.to('float32').mul(upstream[i]!).sum())
    parts.reduce((sum, part) => sum.add(part)).backward()
  }
  for (const [i, output] of composition.outputs.entries())
    expect(distance(output, kernel.outputs[i]!)).toBeLessThan(tolerance)
  for (const [i, leaf] of composition.leaves.entries())
    expect(distance(leaf.grad!, kernel.leaves[i]!.grad!)).toBeLessThan(tolerance)
}

const dtypes = fc.constantFrom<Dtype>('float32', 'bfloat16')
const toleranceOf = (dtype: Dtype) => (dtype === 'float32' ? 1e-5 : 2e-2)
const size = (max: number) => fc.integer({ min: 1, max })
const check = <T extends unknown[]>(property: fc.IProperty<T>, numRuns = 20) =>
  fc.assert(property, { numRuns, seed: 1 })

test('norms, of one dtype and from float32 to bfloat16', () => {
  check(
    fc.property(
      size(20),
      fc.integer({ min: 4, max: 70 }),
      dtypes,
      fc.constantFrom(0, 1),
      (rows, width, dtype, offset) =>
        scope(() => {
          const inputs = [random([rows, width]), random([rows, width]), random([width])]
          const tolerance = toleranceOf(dtype)
          compare((k, [x, scale]) => [k.rmsNorm(x!, scale!, 1e-5, offset, dtype)], [inputs[0]!, inputs[2]!], tolerance)
          compare(
            (k, [x, delta, scale]) => k.addRmsNorm(x!, delta!.to(dtype), scale!, 1e-5, offset, dtype),
            inputs,
            tolerance,
          )
        }),
    ),
  )
})

test('rotary positions and gated activations', () => {
  const activations = fc.constantFrom('silu' as const, 'gelu' as const, 'gelu_tanh' as const, 'relu' as const)
  check(
    fc.property(
      size(12),
      size(10),
      fc.integer({ min: 0, max: 5 }),
      dtypes,
      activations,
      (tokens, half, rest, dtype, activation) =>
        scope(() => {
          const angles = random([tokens, 1, half])
          const both = op.cat([angles, angles], 2)
          const [cos, sin] = [op.cos(both), op.sin(both)]
          const heads = [random([tokens, 3, 2 * half + rest]).to(dtype), random([tokens, 1, 2 * half + rest]).to(dtype)]
          compare((k, [queries, keys]) => k.rotaryEmbedding(queries!, keys!, cos, sin), heads, toleranceOf(dtype))
          const pair = [random([tokens, 8], 3).to(dtype), random([tokens, 8], 3).to(dtype)]
          compare((k, [gate, up]) => [k.gatedActivation(gate!, up!, activation)], pair, toleranceOf(dtype))
        }),
    ),
  )
})

test('products with rounded copies of weights, whose gradients go to the weights themselves', () => {
  check(
    fc.property(size(40), size(40), size(40), fc.constantFrom(0, 5), (tokens, inputs, outputs, cap) =>
      scope(() => {
        const rounded = (x: Tensor) => noGrad(() => x.to('bfloat16'))
        const [x, weight, bias] = [random([tokens, inputs]), random([outputs, inputs]), random([outputs])]
        const half = (x: Tensor) => x.to('bfloat16')
        compare((k, [x, w, b]) => [k.linear(half(x!), rounded(w!), half(b!), w!)], [x, weight, bias], 2e-2)
        compare(
          (k, [x, up, w]) => [k.gatedLinear(half(x!), half(up!), 'silu', rounded(w!), w!)],
          [x, random([tokens, inputs]), weight],
          2e-2,
        )
        const targets = Tensor.from(
          Int32Array.from({ length: tokens }, (_, i) => (i * 7) % outputs),
          undefined,
          'int64',
        )
        compare((k, [x, w]) => [k.tokenLogps(half(x!), rounded(w!), targets, 9, cap, w!)], [x, weight], 4e-2)
        compare((k, [w]) => [k.tokenEmbedding(w!, targets)], [weight], 1e-6)
      }),
    ),
  )
})

test('a product with a bias gives the same bits with gradients recorded and without, as policy and reference must', () => {
  scope(() => {
    const [x, weight, bias] = [random([30, 24]), random([40, 24]), random([40])]
    const half = (x: Tensor) => noGrad(() => x.to('bfloat16'))
    const product = () => composed.linear(half(x), half(weight), half(bias), weight).toArray()
    const plain = noGrad(product)
    weight.withGrad()
    expect(product()).toEqual(plain)
  })
})

test('AdamW with moments in 8 bits, of one block and of many, the last not full, also where a checkpoint moves to a GPU', () => {
  check(
    fc.property(size(2000), size(3), (elements, steps) =>
      scope(() => {
        const blocks = Math.ceil(elements / 256)
        const [initial, ...gradients] = Array.from({ length: steps + 1 }, () => random([elements]))
        const run = (...kernels: [first: typeof composed, others: typeof composed]) => {
          const parameter = initial!.clone()
          const codes = [0, 1].map(() => op.zeros([blocks, 256], 'uint8'))
          const scales = [0, 1].map(() => op.zeros([blocks], 'float32'))
          for (const [i, gradient] of gradients.entries()) {
            const moments = [[codes[0]!], [scales[0]!], [codes[1]!], [scales[1]!]] as const
            const { adamw8bit } = kernels[Math.min(i, 1)]!
            adamw8bit([parameter], [gradient], ...moments, i + 1, 1e-2, 0.9, 0.99, 1e-8, 0.01, 0.5)
          }
          return { parameter, codes, scales }
        }
        const own = run(op, op)
        for (const other of [run(composed, composed), run(op, composed)]) {
          expect(distance(other.parameter, own.parameter)).toBeLessThan(1e-4)
          for (const i of [0, 1]) {
            expect(distance(other.scales[i]!, own.scales[i]!)).toBeLessThan(1e-5)
            const [a, b] = [other, own].map(({ codes }) => codes[i]!.to('float32').toArray())
            const differing = a!.filter((code, j) => j < elements && code !== b![j])
            expect(differing.length).toBeLessThanOrEqual(1 + elements / 500) // rounding, on a middle
          }
        }
      }),
    ),
  )
})

test('log-probabilities of tokens, in one chunk and in several, with a soft cap and without', () => {
  check(
    fc.property(size(30), size(40), size(12), fc.constantFrom(0, 5), dtypes, (rows, vocabulary, chunk, cap, dtype) =>
      scope(() => {
        const targets = Tensor.from(
          Int32Array.from({ length: rows }, (_, i) => (i * 7) % vocabulary),
          undefined,
          'int64',
        )
        const inputs = [random([rows, 16]).to(dtype), random([vocabulary, 16]).to(dtype)]
        // Each of the two is up to 2e-2 from float32 where probabilities cancel out.
        compare(
          (k, [hidden, head]) => [k.tokenLogps(hidden!, head!, targets, chunk, cap)],
          inputs,
          2 * toleranceOf(dtype),
        )
      }),
    ),
  )
})

test('log-probabilities of tokens that are nearly certain: what is left of their gradient in bfloat16', () => {
  scope(() => {
    const ids = [3, 0, 7, 3]
    const targets = Tensor.from(Int32Array.from(ids), undefined, 'int64')
    const identity = Float32Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0))
    const states = Float32Array.from({ length: 8 * ids.length }, (_, i) => (i % 8 === ids[i >> 3] ? 8 : 0))
    const inputs = [Tensor.from(states, [ids.length, 8]).to('bfloat16'), Tensor.from(identity, [8, 8]).to('bfloat16')]
    compare((k, [hidden, head]) => [k.tokenLogps(hidden!, head!, targets, 3, 0)], inputs, 2e-2) // p = 0.9977
  })
})

/** Segments as a stream has them: each after a random earlier one, or by itself. */
const trees = fc
  .array(fc.record({ length: size(40), parent: fc.option(fc.nat(1000), { nil: null }) }), {
    minLength: 1,
    maxLength: 7,
  })
  .map((nodes) => {
    let start = 0
    return nodes.map(({ length, parent }, i) => {
      const row = [start, length, parent === null || i === 0 ? -1 : parent % i, 0]
      start += length
      return row
    })
  })
const forms = fc.record({
  groups: size(2),
  shared: size(3),
  size: size(20),
  window: fc.constantFrom(0, 5, 30),
  cap: fc.constantFrom(0, 4),
})
const tableOf = (rows: readonly number[][]) => Tensor.from(Int32Array.from(rows.flat()), [rows.length, 4])

test('attention within segments: prompts that completions share, at any depth', () => {
  check(
    fc.property(trees, forms, dtypes, (segments, { groups, shared, size, window, cap }, dtype) =>
      scope(() => {
        const tokens = segments.reduce((sum, [, length]) => sum + length!, 0)
        const table = tableOf(segments)
        const inputs = [groups * shared, groups, groups].map((count) => random([tokens, count, size]).to(dtype))
        const run: Run = (k, [q, keys, values]) => [k.segmentAttention(q!, keys!, values!, table, 0.3, window, cap)]
        compare(run, inputs, toleranceOf(dtype))
      }),
    ),
    60,
  )
})

test('attention to prompts of another stream', () => {
  scope(() =>
    noGrad(() => {
      // Two prompts in the context, one of them with two completions, and a row of its own.
      const table = tableOf([
        [0, 9, -1, 1],
        [12, 5, -1, 1],
        [0, 6, 0, 0],
        [6, 3, 1, 0],
        [9, 4, 1, 0],
        [13, 2, -1, 0],
      ])
      const [q, keys, values] = [4, 2, 2].map((count) => random([15, count, 8])) as [Tensor, Tensor, Tensor]
      const [seenKeys, seenValues] = [random([20, 2, 8]), random([20, 2, 8])]
      const results = [op, composed].map((k) =>
        k.segmentAttention(q, keys, values, table, 0.3, 0, 0, seenKeys, seenValues),
      )
      expect(distance(results[1]!, results[0]!)).toBeLessThan(1e-5)
    }),
  )
})

test('attention over the paged cache: rows that are read beside rows that are extended', () => {
  check(
    fc.property(
      size(2),
      size(3),
      size(20),
      fc.constantFrom(0, 7, 40),
      fc.constantFrom(0, 4),
      dtypes,
      (groups, shared, size, window, cap, dtype) =>
        scope(() => {
          const pages = Tensor.from(Int32Array.of(3, 1, -1, 0, -1, -1, 2, 4, 5), [3, 3])
          const padded = 16 * Math.ceil(size / 16)
          const fill = [random([6, groups, size, 32]).to(dtype), random([6, groups, 32, padded]).to(dtype)]
          // Row 0 is extended at 40, row 1 is read from 0 to 9, row 2 at 70.
          const rows = Int32Array.of(0, ...new Array(10).fill(1), 2)
          const positions = Int32Array.of(40, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 70)
          const [q, keys, values] = [groups * shared, groups, groups].map((count) =>
            random([12, count, size]).to(dtype),
          ) as [Tensor, Tensor, Tensor]
          const results = [op, composed].map((k) => {
            const [keyPool, valuePool] = fill.map((pool) => pool.clone()) as [Tensor, Tensor]
            const at = [Tensor.from(rows), Tensor.from(positions)] as const
            const output = k.pagedAttention(q, keys, values, keyPool, valuePool, pages, ...at, 0.3, window, cap)
            return { output, keyPool, values: valuePool.narrow(3, 0, size) }
          })
          expect(distance(results[1]!.output, results[0]!.output)).toBeLessThan(toleranceOf(dtype))
          expect(distance(results[1]!.keyPool, results[0]!.keyPool)).toBe(0)
          expect(distance(results[1]!.values, results[0]!.values)).toBe(0)
        }),
    ),
  )
})

test('weights in 4 and 8 bits: the same numbers, and the same product with its gradient', () => {
  for (const bits of [4, 8]) {
    for (const nested of [false, true]) {
      scope(() => {
        // 30 x 26 weights: the last block is not whole; 256 blocks and more, so that scales have more than one scale
        for (const [rows, width] of [
          [30, 26],
          [300, 64],
        ] as const) {
          const parts = op.quantize(random([rows, width]), bits, nested)
          for (const dtype of ['float32', 'bfloat16'] as const) {
            const [exact, got] = [op, composed].map((k) => k.dequantize(...parts, [rows, width], bits, dtype))
            expect(distance(got!, exact!)).toBeLessThan(dtype === 'float32' ? 1e-6 : 1e-2)
          }
          compare((k, [x]) => [k.quantizedLinear(x!, ...parts, rows, bits)], [random([5, width])], 1e-5)
          expect(composed.quantize(random([4, 64]), bits, nested).map(({ dtype }) => dtype)).toEqual(
            parts.map(({ dtype }) => dtype),
          )
        }
      })
    }
  }
})

test('dropout: the same masks, bit for bit', () => {
  scope(() => {
    const keys = Tensor.from(BigInt64Array.of(0n, -1n, 2n ** 62n, -(2n ** 63n), 12345678901234567n))
    for (const dtype of ['float32', 'bfloat16'] as const) {
      for (const width of [1, 7, 64]) {
        const input = random([5, width]).to(dtype)
        const [kernel, composition] = [op, composed].map((k) => k.keyedDropout(input, keys, 2 ** 50 + 3, 0.3).toBytes())
        expect(composition).toEqual(kernel)
        compare((k, [x]) => [k.keyedDropout(x!, keys, 5, 0.3)], [random([5, width])], 1e-6)
      }
    }
  })
})

test('AdamW and the norm of the gradients', () => {
  scope(() => {
    const shapes = [[3, 5], [7], [2, 2, 2]]
    const start = shapes.map((shape) => random(shape))
    const results = [op, composed].map((k) => {
      const parameters = start.map((tensor) => tensor.clone().withGrad())
      const [first, second] = [0, 1].map(() => start.map((tensor) => op.zerosLike(tensor)))
      for (let step = 1; step <= 3; step++) {
        const gradients = start.map((tensor) => tensor.mul(step).add(0.1))
        k.adamw(parameters, gradients, first!, second!, step, 1e-2, 0.9, 0.99, 1e-8, 0.1, 0.5)
      }
      return { all: [...parameters, ...first!, ...second!], norm: k.gradientNorm(start) }
    })
    for (const [i, tensor] of results[1]!.all.entries())
      expect(distance(tensor, results[0]!.all[i]!)).toBeLessThan(1e-5)
    expect(results[1]!.norm / results[0]!.norm).toBeCloseTo(1, 5)
  })
})

test('tokens that are drawn', () => {
  scope(() => {
    const logits = random([6, 50], 3)
    const shares = Tensor.from(Float64Array.from({ length: 6 }, (_, i) => i / 6))
    const none = Tensor.from(new Int32Array())
    for (const temperature of [0, 0.7]) {
      const [kernel, composition] = [op, composed].map((k) =>
        k.drawTokens(logits, shares, none, none, temperature, 0, 0.9, 0, 1),
      )
      expect(composition![0].toArray()).toEqual(kernel![0].toArray())
      expect(distance(composition![1], kernel![1])).toBeLessThan(1e-5)
    }
    expect(() => composed.drawTokens(logits.mul(Number.POSITIVE_INFINITY), shares, none, none, 0, 0, 1, 0, 1)).toThrow(
      /NaN or infinite/,
    )
  })
})
