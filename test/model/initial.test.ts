import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { parseModelConfig } from '../../src/model/config.ts'
import { initialParameters } from '../../src/model/parameters.ts'

type Fresh = { constant: number } | { zero_rows: number[]; deviation: number }

// test/golden/make_initial.py wrote it, from transformers' own fresh weights.
const golden = join(import.meta.dirname, '../golden')
const expected = JSON.parse(readFileSync(join(golden, 'initial.json'), 'utf8')) as Record<string, Record<string, Fresh>>

it.each(Object.entries(expected))("fresh weights are like transformers': %s", (name, weights) => {
  const file = join(golden, 'architectures', name, 'config.json')
  const parameters = initialParameters(parseModelConfig(JSON.parse(readFileSync(file, 'utf8')), file), 1)
  expect([...parameters.keys()].sort()).toEqual(Object.keys(weights).sort())
  for (const [name, fresh] of Object.entries(weights)) {
    const tensor = parameters.get(name)!
    const values = tensor.toArray()
    const width = tensor.shape[1] ?? 1
    if ('constant' in fresh) expect(new Set(values), name).toEqual(new Set([fresh.constant]))
    else {
      const rows = Array.from({ length: tensor.shape[0]! }, (_, row) => values.slice(row * width, (row + 1) * width))
      const isZero = (row: Float32Array) => row.every((value) => value === 0)
      expect(rows.flatMap((row, i) => (isZero(row) ? [i] : []))).toEqual(fresh.zero_rows)
      // two samples of one distribution: their deviations differ by their sampling errors at most
      const random = rows.filter((row) => !isZero(row)).flatMap((row) => [...row])
      const error = fresh.deviation / Math.sqrt(2 * random.length)
      expect(Math.abs(deviation(random) - fresh.deviation), name).toBeLessThan(6 * Math.SQRT2 * error)
    }
    tensor.dispose()
  }
})

function deviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}
