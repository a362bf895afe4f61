import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readFeedback } from '../../src/data/read.ts'
import { expectedCounts, writeVendorFiles } from './vendor-files.ts'

const folder = mkdtempSync(join(tmpdir(), 'prospect-vendors-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const files = writeVendorFiles(folder)
const read = async (file: string) =>
  (await readFeedback([file], { onBadRow: 'error', needLabels: true })).facts.files[0]!

test.each(Object.keys(expectedCounts))('a file as %s documents it loads with the expected counts', async (shape) => {
  const { shapes, rows, desirable, undesirable, pairs, leftOut } = await read(files.get(shape)!)
  expect(shapes).toEqual({ [shape]: 40 })
  const left = Object.values(leftOut).reduce((sum, count) => sum + count, 0)
  expect({ rows, desirable, undesirable, pairs, leftOut: left }).toEqual(expectedCounts[shape])
})

const shared = join(import.meta.dirname, '../../../shared/data')
test.skipIf(!existsSync(shared))(
  'real files (../shared/data, where it is there) load with the counts of their README',
  async () => {
    const counts = async (name: string) => {
      const { rows, desirable, undesirable, pairs } = await read(join(shared, name))
      return { rows, desirable, undesirable, pairs }
    }
    expect(await counts('gsm8k-solutions.train.jsonl.gz')).toEqual({
      rows: 4000,
      desirable: 1541,
      undesirable: 2459,
      pairs: 0,
    })
    expect(await counts('gsm8k-solutions.test.jsonl.gz')).toEqual({
      rows: 600,
      desirable: 212,
      undesirable: 388,
      pairs: 0,
    })
    expect(await counts('hh-harmless.jsonl.gz')).toEqual({
      rows: 3800,
      desirable: 1900,
      undesirable: 1900,
      pairs: 1900,
    })
  },
)
