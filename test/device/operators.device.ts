import { expect, test } from 'vitest'
import { op } from '../../src/tensor/operators.ts'
import { Generator } from '../../src/tensor/random.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import { type Device, type Dtype, Tensor } from '../../src/tensor/tensor.ts'

// The device's operators against the processor's kernels in float32, on the same values: outputs and gradients. Attention has the head sizes of real
// models, so that libtorch's own CUDA kernels compute it: flash in bfloat16, memory-efficient in float32.

const device = process.env.PROSPECT_TEST_DEVICE ?? 'cuda:0'
let seed = 0
function random(shape: number[], scale = 1): Tensor {
  return op.normal(op.empty(shape, 'float32'), 0, scale, new Generator(seed++).index)
}

function distance(actual: Tensor, expected: Tensor): number {
  expect(actual.shape).toEqual(expected.shape)
  const [a, b] = [actual.detach().toArray(), expected.detach().toArray()]
  const most = b.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3)
  return a.reduce((worst, value, i) => Math.max(worst, Number.isNaN(value) ? 1 : Math.abs(value - b[i]!) / most), 0)
}

type Run = (inputs: Tensor[], on: string) => Tensor[]

function compare(
  run: Run,
  inputs: readonly Tensor[],
  dtype: Dtype,
  tolerance = dtype === 'float32' ? 1e-4 : 2e-2,
): void {
  scope(() => {
    const cast = inputs.map((input) => input.to(dtype))
    const here = cast.map((input) => input.to('float32').clone().withGrad())
    const there = cast.map((input) => input.on(device).clone().withGrad())
    const [expected, got] = [run(here, 'cpu'), run(there, device)]
    const upstream = expected.map((output) => random(output.shape).to(dtype).to('float32'))
    const weighed = (outputs: Tensor[], on: string) =>
      outputs
        .map((output, i) => output.to('float32').mul(upstream[i]!.on(on)).sum())
        .reduce((sum, part) => sum.add(part))
        .backward()
    weighed(expected, 'cpu')
    weighed(got, device)
    for (const [i, output] of got.entries()) {
      expect(output.device).toBe(device)
      expect(distance(output, expected[i]!), `output ${i}`).toBeLessThan(tolerance)
    }
    for (const [i, input] of there.entries())
      expect(distance(input.grad!, here[i]!.grad!), `gradient ${i}`).toBeLessThan(tolerance)
  })
}

const dtypes: Dtype[] = ['float32', 'bfloat16']

test.each(dtypes)('norms, rotation, activations, products in %s', (dtype) => {
  const [x, delta, scale] = [random([70, 256]), random([70, 256]), random([256])]
  compare(([x, scale]) => [op.rmsNorm(x!, scale!.to('float32'), 1e-5, 0, 'float32')], [x, scale], dtype)
  compare(([x, delta, scale]) => op.addRmsNorm(x!, delta!, scale!.to('float32'), 1e-5, 1), [x, delta, scale], dtype)
  const angles = random([70, 1, 32])
  const both = op.cat([angles, angles], 2)
  const [cos, sin] = [op.cos(both), op.sin(both)]
  const heads = [random([70, 4, 64]), random([70, 2, 64])]
  compare(([q, k], on) => op.rotaryEmbedding(q!, k!, cos.on(on), sin.on(on)), heads, dtype)
  for (const name of ['silu', 'gelu', 'gelu_tanh', 'relu'] as const)
    compare(([gate, up]) => [op.gatedActivation(gate!, up!, name)], [x, delta], dtype)
  compare(([x, weight, bias]) => [op.linear(x!, weight!, bias)], [x, random([96, 256], 1 / 16), random([96])], dtype)
})

test('products with rounded copies of weights, whose gradients go to the weights themselves', () => {
  const half = (x: Tensor) => x.to('bfloat16')
  const copy = (weight: Tensor) => noGrad(() => half(weight))
  const [x, up, weight] = [random([70, 256]), random([70, 256]), random([96, 256], 1 / 16)]
  compare(([x, w]) => [op.linear(half(x!), copy(w!), null, w!)], [x, weight], 'float32', 2e-2)
  compare(([x, up, w]) => [op.gatedLinear(half(x!), half(up!), 'silu', copy(w!), w!)], [x, up, weight], 'float32', 2e-2)
  const targets = (on: string) =>
    Tensor.from(
      Int32Array.from({ length: 70 }, (_, i) => i % 96),
      undefined,
      'int64',
      on,
    )
  compare(([x, w], on) => [op.tokenLogps(half(x!), copy(w!), targets(on), 32, 0, w!)], [x, weight], 'float32', 2e-2)
})

test('AdamW with moments in 8 bits: the same weights after three steps', () => {
  scope(() => {
    const [initial, ...gradients] = Array.from({ length: 4 }, () => random([5000]))
    const run = (on: Device) => {
      const parameter = initial!.clone().on(on)
      const [m, v] = [0, 1].map(() => [
        op.zeros([20, 256], 'uint8', undefined, on),
        op.zeros([20], 'float32', undefined, on),
      ])
      for (const [i, gradient] of gradients.entries())
        op.adamw8bit(
          [parameter],
          [gradient.on(on)],
          [m![0]!],
          [m![1]!],
          [v![0]!],
          [v![1]!],
          i + 1,
          1e-2,
          0.9,
          0.99,
          1e-8,
          0,
          1,
        )
      return parameter
    }
    const [here, there] = [run('cpu').toArray(), run(device as Device).toArray()]
    const moved = here.filter((value, i) => Math.abs(value - there[i]!) > 1e-5)
    expect(moved.length).toBeLessThan(10) // a code may lie between two
  })
})

test.each(dtypes)('log-probabilities in %s, in chunks and with a soft cap', (dtype) => {
  const targets = Int32Array.from({ length: 90 }, (_, i) => (i * 37) % 1000)
  const run =
    (chunk: number, cap: number): Run =>
    ([hidden, head], on) => [op.tokenLogps(hidden!, head!, Tensor.from(targets, undefined, 'int64', on), chunk, cap)]
  const inputs = [random([90, 64]), random([1000, 64], 0.3)]
  for (const [chunk, cap] of [
    [90, 0],
    [32, 0],
    [32, 20],
  ] as const)
    compare(run(chunk, cap), inputs, dtype)
})

const table = (rows: number[][]) => Tensor.from(Int32Array.from(rows.flat()), [rows.length, 4])
/** A row by itself, a prompt with three completions, and one below a completion. */
const segments = [
  [0, 130, -1, 0],
  [130, 200, -1, 0],
  [330, 40, 1, 0],
  [370, 1, 1, 0],
  [371, 65, 1, 0],
  [436, 20, 4, 0],
]

test.each(dtypes.flatMap((dtype) => [64, 128].map((size) => [dtype, size] as const)))(
  'attention within segments in %s, head size %i: shared prompts, windows, soft caps',
  (dtype, size) => {
    for (const [window, cap] of [
      [0, 0],
      [50, 0],
      [0, 30],
    ] as const) {
      const inputs = [8, 2, 2].map((count) => random([456, count, size]))
      const run: Run = ([q, k, v]) => [op.segmentAttention(q!, k!, v!, table(segments), size ** -0.5, window, cap)]
      compare(run, inputs, dtype)
    }
    const alone = segments.map(([start, length]) => [start!, length!, -1, 0])
    compare(
      ([q, k, v]) => [op.segmentAttention(q!, k!, v!, table(alone), size ** -0.5)],
      [8, 8, 8].map((count) => random([456, count, size])),
      dtype,
    )
  },
)

test('weights in 4 bits, and dropout', () => {
  const parts = op.quantize(random([128, 64]), 4, true)
  compare(
    ([x], on) => {
      const [data, absmax, nested] = parts.map((part) => part.on(on)) as [Tensor, Tensor, Tensor]
      return [op.quantizedLinear(x!, data, absmax, nested, 128, 4)]
    },
    [random([9, 64])],
    'float32',
  )
  const keys = Tensor.from(BigInt64Array.of(0n, -1n, 2n ** 62n, 5n))
  compare(([x], on) => [op.keyedDropout(x!, keys.on(on), 2 ** 50 + 3, 0.3)], [random([4, 64])], 'float32')
})

test('AdamW', () => {
  scope(() => {
    const start = [[300, 5], [7]].map((shape) => random(shape))
    const results = ['cpu', device].map((on) => {
      const [parameters, first, second] = [start, ...[0, 1].map(() => start.map((tensor) => op.zerosLike(tensor)))].map(
        (all) => all.map((tensor) => tensor.on(on).clone()),
      ) as [Tensor[], Tensor[], Tensor[]]
      for (let step = 1; step <= 3; step++) {
        const gradients = start.map((tensor) => tensor.on(on).mul(step).add(0.1))
        op.adamw(parameters, gradients, first, second, step, 1e-2, 0.9, 0.99, 1e-8, 0.1, 0.5)
      }
      return { all: [...parameters, ...first, ...second], norm: op.gradientNorm(start.map((tensor) => tensor.on(on))) }
    })
    for (const [i, tensor] of results[1]!.all.entries())
      expect(distance(tensor, results[0]!.all[i]!)).toBeLessThan(1e-4)
    expect(results[1]!.norm / results[0]!.norm).toBeCloseTo(1, 5)
  })
})
