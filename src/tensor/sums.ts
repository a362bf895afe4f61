import { op } from './operators.ts'
import { Tensor } from './tensor.ts'

/**
 * Sums of values by row: `row`, int64, says which of `rows` each of `values` belongs to; [rows] float32. They are added up in float64 and rounded once, so that
 * the order in which a GPU adds does not show.
 */
export function sumsByRow(values: Tensor, row: Tensor | Int32Array, rows: number): Tensor {
  const { device } = values
  const index = row instanceof Tensor ? row : Tensor.from(row, undefined, 'int64', device)
  const zeros = op.zeros([rows], 'float64', undefined, device)
  return op.indexAdd(zeros, 0, index, values.to('float64')).to('float32')
}
