import { describe, expect, it } from 'vitest'
import { op } from '../../src/tensor/operators.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

describe('an error of an operator', () => {
  it('names the operator and what it was given', () => {
    scope(() => {
      const [a, b] = [op.zeros([2, 3]), op.zeros([4, 5])]
      expect(() => op.matmul(a, b)).toThrow(
        /aten::matmul\(self: float32\[2, 3\], other: float32\[4, 5\]/, // what follows differs between versions
      )
    })
  })

  it('names lists of tensors too', () => {
    scope(() => {
      const parts = [op.zeros([2, 3]), op.zeros([2, 4], 'int64')]
      expect(() => op.cat(parts, 0)).toThrow(/aten::cat\(tensors: \[float32\[2, 3\], int64\[2, 4\]\]\)/)
    })
  })

  it('says that a tensor was disposed, and how to keep it', () => {
    const freed = scope(() => Tensor.from([1]))
    freed.dispose()
    const leaked: Tensor[] = []
    scope(() => {
      leaked.push(Tensor.from([1]))
    })
    const problem = /the tensor was disposed.*return it from its scope\(\) or keep it/
    for (const dead of [freed, leaked[0]!]) {
      expect(() => dead.shape).toThrow(problem)
      expect(() => scope(() => Tensor.from([1]).add(dead))).toThrow(problem)
      expect(() => scope(() => Tensor.from([1]).add(dead))).toThrow(/aten::add.*other: not a live tensor/)
    }
  })
})

describe('Tensor.from', () => {
  it('takes the dtype of the array, or the one that is asked for', () => {
    scope(() => {
      expect(Tensor.from([1, 2]).dtype).toBe('float32')
      expect(Tensor.from(Int32Array.of(1)).dtype).toBe('int32')
      const wide = Tensor.from(Int32Array.of(-1, 7), [2], 'int64')
      expect([wide.dtype, ...wide.toArray()]).toEqual(['int64', -1, 7])
      expect(Tensor.from(Uint8Array.of(0, 1), [2], 'bool').dtype).toBe('bool')
    })
  })

  it('takes bfloat16 as bits only', () => {
    scope(() => {
      expect([...Tensor.from(Uint16Array.of(0x3f80), [1], 'bfloat16').toArray()]).toEqual([1])
      expect(() => Tensor.from([1], [1], 'bfloat16')).toThrow(/as its bits, a Uint16Array; use .*to\('bfloat16'\)/)
    })
  })

  it('copies part of a buffer', () => {
    scope(() => {
      const buffer = Float32Array.of(1, 2, 3, 4)
      const tensor = Tensor.from(buffer.subarray(1, 3))
      buffer.fill(0)
      expect([...tensor.toArray()]).toEqual([2, 3])
    })
  })

  it('refuses a shape that the data does not fill', () => {
    expect(() => Tensor.from([1, 2, 3], [2, 2])).toThrow('float32[2, 2] takes 16 bytes, got 12')
  })
})

it('item() refuses more than one element', () => {
  scope(() => expect(() => Tensor.from([1, 2]).item()).toThrow('expected one element, got float32[2]'))
})

it('backward() adds up gradients in leaves, through a cast to bfloat16', () => {
  scope(() => {
    const weight = Tensor.from([1, 2, 3]).withGrad()
    for (let pass = 0; pass < 2; pass++) weight.to('bfloat16').mul(2).to('float32').sum().backward()
    expect(weight.grad!.dtype).toBe('float32')
    expect([...weight.grad!.toArray()]).toEqual([4, 4, 4])
    weight.grad = null
    expect(weight.grad).toBeNull()
  })
})
