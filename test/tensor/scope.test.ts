import { afterEach, beforeEach, expect, it } from 'vitest'
import { liveTensors, noGrad, outsideScopes, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

let before: number
beforeEach(() => {
  before = liveTensors()
})
afterEach(() => expect(liveTensors()).toBe(before))

const made = () => liveTensors() - before

it('frees what was made inside', () => {
  scope(() => {
    Tensor.from([1, 2]).mul(2).sum()
    expect(made()).toBe(3)
  })
  expect(made()).toBe(0)
})

it('keeps the tensors of its result, in arrays, maps and objects too', () => {
  const kept = scope(() => {
    const [a, b, c, d] = [1, 2, 3, 4].map((value) => Tensor.from([value])) as [Tensor, Tensor, Tensor, Tensor]
    Tensor.from([5])
    return { a, list: [b], map: new Map([['c', { c }]]), d }
  })
  expect(made()).toBe(4)
  const all = [kept.a, kept.list[0]!, kept.map.get('c')!.c, kept.d]
  expect(all.map((tensor) => tensor.item())).toEqual([1, 2, 3, 4])
  for (const tensor of all) tensor.dispose()
})

it('hands its result to the scope around it', () => {
  scope(() => {
    const inner = scope(() => Tensor.from([1]).add(1))
    expect(inner.item()).toBe(2)
    expect(made()).toBe(1)
  })
  expect(made()).toBe(0)
})

it('keeps tensors of an outer scope that an inner one returns', () => {
  scope(() => {
    const outer = Tensor.from([1])
    const same = scope(() => outer)
    expect(same.item()).toBe(1)
  })
})

it('frees everything where the work throws', () => {
  const fail = () => {
    Tensor.from([1])
    throw new Error('bad row')
  }
  expect(() => scope(fail)).toThrow('bad row')
  expect(made()).toBe(0)
  const after = Tensor.from([1]) // no scope is left open
  expect(made()).toBe(1)
  after.dispose()
})

it('refuses a promise', () => {
  expect(() => scope(async () => Tensor.from([1]))).toThrow('scope() got a promise: do asynchronous work outside of it')
})

it('leaves alone what is made outside of scopes', () => {
  const table = scope(() => outsideScopes(() => Tensor.from([1])))
  const lost: Tensor[] = []
  scope(() => {
    lost.push(outsideScopes(() => Tensor.from([2])))
  })
  expect(lost[0]!.item()).toBe(2)
  lost[0]!.dispose()
  table.dispose()
})

it('lets a tensor be disposed early, and twice', () => {
  scope(() => {
    const tensor = Tensor.from([1])
    scope(() => tensor.dispose())
    expect(made()).toBe(0)
    tensor.dispose()
    Tensor.from([2])
    expect(made()).toBe(1)
  })
})

it('noGrad records nothing, and recording comes back after an error', () => {
  scope(() => {
    const weight = Tensor.from([1]).withGrad()
    const fail = () => {
      throw new Error('bad row')
    }
    expect(noGrad(() => weight.mul(2)).requiresGrad).toBe(false)
    expect(() => noGrad(fail)).toThrow('bad row')
    expect(weight.mul(2).requiresGrad).toBe(true)
  })
})
