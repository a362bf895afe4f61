import { makeObjective } from '../../loss/index.ts'
import type { LossOptions } from '../../loss/table.ts'
import { scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'

/** Minus the loss of a single row at each log-ratio against the reference point, by label, 0 at the reference point. */
export interface ValueCurve {
  z: number[]
  desirable: number[]
  undesirable: number[]
}

/** What rows are worth to the objective; null where it looks at pairs, tokens or no labels, so that a row has no value by itself. */
export function valueCurve(loss: LossOptions, furthest: number): ValueCurve | null {
  const objective = makeObjective(loss)
  const { pairs, tokens, labels, reference } = objective.needs
  if (pairs || tokens || !labels || !reference) return null
  const count = 121
  const z = Array.from({ length: count }, (_, i) => furthest * ((2 * i) / (count - 1) - 1))
  const values = (desirable: boolean) =>
    scope(() => {
      const rows = {
        policy: Tensor.from(Float32Array.from(z)),
        reference: Tensor.from(new Float32Array(count)),
        desirable: Tensor.from(new Uint8Array(count).fill(Number(desirable)), [count], 'bool'),
        lengths: Tensor.from(new Float32Array(count).fill(1)),
        pairs: null,
        tokens: null,
      }
      const losses = objective.losses(rows, { value: 0, mean: 0, standardError: 0, count: 1 }).toArray()
      const middle = losses[(count - 1) / 2]!
      return Array.from(losses, (value) => middle - value)
    })
  return { z, desirable: values(true), undesirable: values(false) }
}
