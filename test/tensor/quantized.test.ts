import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { op } from '../../src/tensor/operators.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const { tensors } = readSafetensors(fileURLToPath(new URL('../golden/quantized.safetensors', import.meta.url)))
const shape = tensors.get('weight')!.shape as [number, number]
const load = (name: string) => tensors.get(name)!.load()

function largest(values: ArrayLike<number>): number {
  return Array.from(values, Math.abs).reduce((most, value) => Math.max(most, value), 0)
}

describe.each([
  ['single', false],
  ['double', true],
])("NF4 with %s quantisation is bitsandbytes'", (name, nestedScales) => {
  test('the same bytes and the same weights', () => {
    scope(() => {
      const [data, absmax, nested] = op.quantize(load('weight'), 4, nestedScales)
      expect(data.toBytes()).toEqual(load(`${name}/packed`).toBytes())
      const got = op.dequantize(data, absmax, nested, shape, 4, 'float32')
      expect(largest(got.sub(load(`${name}/dequantized`)).toArray())).toBeLessThan(1e-6)
    })
  })

  test('takes 4.5 bits a weight, or 4.13 with quantised scales', () => {
    scope(() => {
      const parts = op.quantize(Tensor.from(new Float32Array(2 ** 20)), 4, nestedScales)
      const bytes = parts.reduce((sum, part) => sum + part.toBytes().length, 0)
      expect((8 * bytes) / 2 ** 20).toBeCloseTo(nestedScales ? 4.127 : 4.5, 3)
    })
  })
})

test.each([false, true])('8 bits: off by at most half a step of the block (quantised scales: %s)', (nestedScales) => {
  scope(() => {
    const weight = load('weight')
    const [data, absmax, nested] = op.quantize(weight, 8, nestedScales)
    const difference = op.dequantize(data, absmax, nested, shape, 8, 'float32').sub(weight).toArray()
    const values = weight.toArray()
    // Quantised scales add an error of their own: at most 1 in 100 of the largest scale (the dynamic type's step).
    const slack = nestedScales ? 0.01 * largest(values) : 0
    for (let start = 0; start < values.length; start += 64) {
      const step = largest(values.subarray(start, start + 64)) / 127
      expect(largest(difference.subarray(start, start + 64))).toBeLessThanOrEqual(step / 2 + slack + 1e-6)
    }
  })
})

describe.each([4, 8])('a product with a weight in %i bits', (bits) => {
  test('and its gradient are those with the dequantised weight', () => {
    scope(() => {
      const [data, absmax, nested] = op.quantize(load('weight'), bits, true)
      const weight = op.dequantize(data, absmax, nested, shape, bits, 'float32')
      const input = () =>
        Tensor.from(
          Float32Array.from({ length: 5 * shape[1] }, (_, i) => Math.sin(i)),
          [5, shape[1]],
        )
      const run = (product: (x: Tensor) => Tensor) => {
        const x = input().withGrad()
        const y = product(x)
        op.square(y).sum().backward()
        return { y: y.detach().toArray(), gradient: x.grad!.toArray() }
      }
      const want = run((x) => op.linear(x, weight, null))
      expect(run((x) => op.quantizedLinear(x, data, absmax, nested, shape[0], bits))).toEqual(want)
    })
  })

  test('in bfloat16 is rounded once', () => {
    scope(() => {
      const [data, absmax, nested] = op.quantize(load('weight'), bits, false)
      const exact = op.dequantize(data, absmax, nested, shape, bits, 'float32').to('bfloat16')
      expect(op.dequantize(data, absmax, nested, shape, bits, 'bfloat16').toBytes()).toEqual(exact.toBytes())
    })
  })
})

test('what does not fit is refused', () => {
  scope(() => {
    const [data, absmax, nested] = op.quantize(load('weight'), 4, false)
    expect(() => op.quantize(load('weight'), 3, false)).toThrow(/4 or 8 bits, got 3/)
    expect(() => op.dequantize(data, absmax, nested, [8, 8], 4, 'float32')).toThrow(/do not make 64 weights/)
  })
})
