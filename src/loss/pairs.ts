import type { Tensor } from '../tensor/tensor.ts'
import type { Rows } from './objective.ts'

/** Values of rows as those of the chosen and of the rejected completions, pair by pair, each [pairs]. */
export function byPair(values: Tensor, { pairs }: Rows): { chosen: Tensor; rejected: Tensor } {
  return { chosen: values.indexSelect(0, pairs!.chosen), rejected: values.indexSelect(0, pairs!.rejected) }
}

/** chosen - rejected of each pair, [pairs]. */
export function differences(values: Tensor, rows: Rows): Tensor {
  const { chosen, rejected } = byPair(values, rows)
  return chosen.sub(rejected)
}
