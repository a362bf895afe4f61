import { expect, test } from 'vitest'
import { makeObjective } from '../../src/loss/index.ts'
import { scope } from '../../src/tensor/scope.ts'
import { lossWeights } from '../../src/train/rows.ts'

test("a pair weighs the mean of its rows' weights, whichever is chosen; without weights there are none", () => {
  const row = (pair: number, desirable: boolean, weight?: number) => ({
    completion: new Int32Array(1),
    desirable,
    pair,
    ...(weight !== undefined && { weight }),
  })
  const rows = [row(0, true, 1), row(0, false, 0.25), row(1, false, 0.5), row(1, true, 2)]
  scope(() => {
    expect(lossWeights(makeObjective({ type: 'dpo' }).needs, rows)!.toArray()).toEqual(Float32Array.of(0.625, 1.25))
    expect(lossWeights(makeObjective({ type: 'kto' }).needs, rows)!.toArray()).toEqual(Float32Array.of(1, 0.25, 0.5, 2))
    expect(lossWeights(makeObjective({ type: 'dpo' }).needs, [row(0, true), row(0, false)])).toBeNull()
  })
})
