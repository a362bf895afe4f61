import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readFeedback } from '../../src/data/read.ts'
import { plainText } from '../../src/data/table.ts'
import { vendors, writeVendorFiles } from './vendor-files.mjs'

const folder = mkdtempSync(join(tmpdir(), 'prospect-vendors-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const files = writeVendorFiles(folder)
const readAll = (sources: string[], flags = {}) =>
  readFeedback(sources, { onBadRow: 'error', needLabels: true, ...flags })

test.each(vendors)('$name: each record is known for what it is, and gives the rows that it should', async (vendor) => {
  const { name, shape, expected, flags } = vendor
  const { rows, facts } = await readAll(files.get(name)!, flags)
  const judged = facts.files.filter(({ shapes }) => !('judgements' in shapes))
  expect(judged).toHaveLength(1)
  const [{ shapes, records, used, leftOut, skipped, ...counts }] = judged as [(typeof judged)[0]]
  expect(Object.keys(shapes)).toEqual([shape])
  expect(counts).toMatchObject(expected)
  const left = Object.values(leftOut).reduce((sum, count) => sum + count, 0)
  expect(used + left + skipped).toBe(records)
  // Two of three are liked; of pairs the good, better, edited or best one is.
  for (const { prompt, completion, label } of rows) {
    const [asked, said] = [plainText(prompt), plainText(completion)]
    const number = Number(/Question (\d+)\?/.exec(asked)![1])
    const wanted = /^ ?Good|^Better|of 7.5$|ranked 0$/.test(said) || (expected.pairs === 0 && number % 3 !== 0)
    expect({ asked, said, label }).toEqual({ asked, said, label: wanted })
    expect(said).not.toContain('Question')
  }
})

test.each(vendors.filter(({ files }) => Object.keys(files).length > 1))(
  '$name: judgements in a file of their own find what they judge, in whatever order the files are named',
  async ({ name, expected }) => {
    const [first, second] = files.get(name)! as [string, string]
    const { rows } = await readAll([first, second])
    expect(rows).toHaveLength(expected.rows)
    expect((await readAll([second, first])).rows).toEqual(rows)
    expect((await readAll([join(folder, name)])).rows).toEqual(rows)
    expect((await readAll([second, first], { limit: 5 })).rows).toEqual(rows.slice(0, 5))
  },
)

test('judgements of nothing that was read are counted, and alone they are an error', async () => {
  const [conversations, feedback] = files.get('chatgpt')! as [string, string]
  const { facts } = await readAll([conversations, feedback, files.get('langfuse-storage')![1]!])
  expect(facts.files.map(({ leftOut }) => leftOut)).toEqual([
    { 'a judgement of a record in another file': 40 },
    { 'a judgement of no record that was read': 40 },
    {},
  ])
  await expect(readAll([feedback])).rejects.toThrow(
    /message_feedback\.json: no rows; all 40 .* judgement of a record in another/,
  )
})

test('a trace with ids of scores says where scores are; free texts are no judgement', async () => {
  const path = join(folder, 'ids.jsonl')
  const trace = { id: 't', bookmarked: false, input: 'Q?', output: 'A', scores: ['s-1'] }
  writeFileSync(path, `${JSON.stringify(trace)}\n`)
  await expect(readAll([path])).rejects.toThrow(/ids\.jsonl:1: scores holds ids, \["s-1"\].*--data/)
  const text = { name: 'remark', value: 0, stringValue: 'fine', dataType: 'TEXT' }
  writeFileSync(path, `${JSON.stringify({ ...trace, scores: [text] })}\n`)
  await expect(readAll([path])).rejects.toThrow(/no rows; the only record was left out: no judgement/)
})

const shared = join(import.meta.dirname, '../../../shared/data')
test.skipIf(!existsSync(shared))(
  'real files (../shared/data, where it is there) load with the counts of their README',
  async () => {
    const counts = async (name: string) => {
      const { rows, desirable, undesirable, pairs } = (await readAll([join(shared, name)])).facts.files[0]!
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
    const sft = await readAll([join(shared, 'gsm8k-sft.jsonl.gz')], { needLabels: false })
    expect(sft.rows).toHaveLength(7473)
    expect(await counts('hh-harmless.jsonl.gz')).toEqual({
      rows: 3800,
      desirable: 1900,
      undesirable: 1900,
      pairs: 1900,
    })
  },
)
