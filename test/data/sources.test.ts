import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ReadOptions, readFeedback } from '../../src/data/read.ts'
import { duck } from '../../src/data/source/duck.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-sources-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const rows = Array.from({ length: 7 }, (_, i) => ({ prompt: `p${i}`, completion: `c,"${i}"\n`, label: i % 2 === 0 }))
const want = rows.map(({ prompt, completion, label }) => [prompt, completion, label])
const jsonl = rows.map((row) => `${JSON.stringify(row)}\n`).join('')
const cell = (value: unknown) => `"${String(value).replaceAll('"', '""')}"`
const table = (separator: string, end = '\n') =>
  [
    'prompt,completion,label'.replaceAll(',', separator),
    ...rows.map((row) => Object.values(row).map(cell).join(separator)),
  ].join(end)

function write(name: string, content: string | Buffer): string {
  mkdirSync(join(folder, name, '..'), { recursive: true })
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}

const read = (sources: string | string[], options: Partial<ReadOptions> = {}) =>
  readFeedback([sources].flat(), { onBadRow: 'error', needLabels: true, ...options })
const texts = async (sources: string | string[], options: Partial<ReadOptions> = {}) =>
  (await read(sources, options)).rows.map(({ prompt, completion, label }) => [prompt, completion, label])

async function parquet(name: string): Promise<string> {
  const connection = await duck()
  const from = write(`${name}.jsonl`, jsonl)
  await connection.run(`copy (select * from read_json('${from}')) to '${join(folder, name)}' (format parquet)`)
  return join(folder, name)
}

describe('one table in every format gives the same rows', () => {
  test.each([
    ['rows.jsonl', () => jsonl],
    ['rows.jsonl.gz', () => gzipSync(jsonl)],
    ['list.json', () => JSON.stringify(rows)],
    ['pretty.json', () => JSON.stringify(rows, null, 2)],
    ['one-by-one.json', () => rows.map((row) => JSON.stringify(row, null, 1)).join('\n')],
    ['answer.json', () => JSON.stringify({ data: rows, meta: { page: 1 } })],
    ['rows.csv', () => table(',')],
    ['rows.tsv', () => table('\t')],
    ['windows.csv', () => `\uFEFF${table(',', '\r\n')}\r\n`],
    ['bars.csv', () => table('|')],
    ['rows.csv.gz', () => gzipSync(table(','))],
  ])('%s', async (name, content) => {
    expect(await texts(write(name, content()))).toEqual(want)
  })

  test('Parquet keeps its types', async () => {
    expect(await texts(await parquet('rows.parquet'))).toEqual(want)
  })

  test('zstd', async () => {
    const file = join(folder, 'rows.zst.jsonl')
    const connection = await duck()
    await connection.run(
      `copy (select line from read_csv('${write('lines.txt', jsonl)}', columns={'line':'VARCHAR'}, delim='', quote='', escape='', header=false, auto_detect=false)) to '${file}' (format csv, compression zstd, header false, quote '', delim '\t', escape '')`,
    )
    expect(await texts(file)).toEqual(want)
  })
})

test('a row of any format is named in errors', async () => {
  const bad = { ...rows[4]!, label: 'meh' }
  const with5 = [...rows.slice(0, 4), bad]
  await expect(texts(write('bad.json', JSON.stringify(with5, null, 2)))).rejects.toThrow(/bad\.json:22: label is "meh"/)
  await expect(texts(write('bad.csv', `prompt,completion,label\n"a\nb",c,up\nx,y,meh\n`))).rejects.toThrow(
    /bad\.csv:4: label is "meh"/,
  )
})

test('lines of a CSV file that are no rows are reported, never dropped', async () => {
  const file = write('ragged.csv', 'prompt,completion,label\na,b,up\nc,d,down,e\nf,,1\r\n')
  const { rows: got, facts } = await read(file, { onBadRow: 'skip' })
  expect(got.map(({ prompt, completion, label }) => [prompt, completion, label])).toEqual([
    ['a', 'b', true],
    ['f', '', true],
  ])
  expect(facts.files[0]).toMatchObject({
    records: 3,
    used: 2,
    skipped: 1,
    skippedBecause: [expect.stringContaining('ragged.csv:3')],
  })
})

test('folders and globs give their files by name', async () => {
  write('many/b.jsonl', `${JSON.stringify(rows[1])}\n`)
  write('many/a.jsonl', `${JSON.stringify(rows[0])}\n`)
  write('many/deep/c.jsonl.gz', gzipSync(`${JSON.stringify(rows[2])}\n`))
  write('many/notes.txt', 'not data')
  expect(await texts(join(folder, 'many'))).toEqual(want.slice(0, 3))
  expect(await texts(join(folder, 'many/*.jsonl'))).toEqual(want.slice(0, 2))
  await expect(texts(join(folder, 'many/*.csv'))).rejects.toThrow(/no file matches/)
})

test('an http address is fetched once, and again when it changed', async () => {
  let [body, asked] = [jsonl, 0]
  const server = createServer((request, response) => {
    asked++
    const etag = `"${body.length}"`
    if (request.headers['if-none-match'] === etag) response.writeHead(304).end()
    else response.writeHead(200, { etag }).end(body)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  const options = { cache: join(folder, 'cache') }
  const url = `http://127.0.0.1:${port}/rows.jsonl?x=1`
  expect(await texts(url, options)).toEqual(want)
  expect(await texts(url, options)).toEqual(want)
  body = `${JSON.stringify(rows[3])}\n`
  expect(await texts(url, options)).toEqual([want[3]])
  expect(asked).toBe(3)
  await new Promise((done) => server.close(done))
  expect(await texts(url, options)).toEqual([want[3]]) // not reachable: the copy serves
})

describe('choosing records', () => {
  test.each(['rows.jsonl', 'pretty.json', 'rows.csv', 'rows.parquet'])('--where on %s', async (name) => {
    const file = join(folder, name)
    expect(await texts(file, { where: "prompt in ('p1', 'p6')" })).toEqual([want[1], want[6]])
    await expect(texts(file, { where: 'colour = 1' })).rejects.toThrow(/--where "colour = 1".*colour/s)
    await expect(texts(file, { where: "prompt = 'none'" })).rejects.toThrow(/no record satisfies --where/)
  })

  test('a condition chooses records, and changes nothing in them', async () => {
    const odd = [
      { prompt: '1', completion: '02', label: true },
      { prompt: '2', completion: '3', label: false, more: { a: [1, 'x'] } },
    ]
    const file = write('odd.jsonl', `\n${odd.map((row) => JSON.stringify(row)).join('\n\n')}\nnonsense\n`)
    expect(await texts(file, { where: 'prompt::int > 0', onBadRow: 'skip' })).toEqual([
      ['1', '02', true],
      ['2', '3', false],
    ])
  })

  test('--sample and --limit are seeded, in order, and exact', async () => {
    const file = join(folder, 'rows.jsonl')
    const first = await texts(file, { sample: 3, seed: 1 })
    expect(first).toHaveLength(3)
    expect(await texts(file, { sample: 3, seed: 1 })).toEqual(first)
    expect(first).toEqual(want.filter((row) => first.some((other) => other[0] === row[0])))
    expect(await texts(file, { limit: 2 })).toEqual(want.slice(0, 2))
    expect(await texts(file, { sample: 100 })).toEqual(want)
    const many = write('many.jsonl', jsonl.repeat(300))
    const share = await texts(many, { sample: 0.25 })
    expect(share.length).toBeGreaterThan(400)
    expect(share.length).toBeLessThan(650)
  })

  test('what --where and --sample pass over is counted, file by file', async () => {
    const files = ['a', 'b'].map((name) => write(`${name}.jsonl`, jsonl))
    const { facts } = await read(files, { where: "prompt <> 'p1'", sample: 5, seed: 1 })
    const of = (key: '--where' | '--sample') => facts.files.map(({ passedOver }) => passedOver[key] ?? 0)
    expect(of('--where')).toEqual([1, 1])
    const [a, b] = facts.files.map(({ records }) => records)
    expect(a! + b!).toBe(5)
    expect(of('--sample')).toEqual([rows.length - 1 - a!, rows.length - 1 - b!])
  })

  test('--map names columns, nested ones too', async () => {
    const file = write('named.jsonl', `${JSON.stringify({ question: 'q', answer: 'a', meta: { thumb: '👎' } })}\n`)
    const map = { prompt: 'question', completion: 'answer', label: 'meta.thumb' }
    expect(await texts(file, { map })).toEqual([['q', 'a', false]])
    await expect(texts(file, { map: { ...map, label: 'thumb' } })).rejects.toThrow(
      /--map label=thumb: the row has no thumb; it has question/,
    )
  })
})

test('a JSON list is parted into the records that JSON.parse sees, wherever chunks end', async () => {
  const value = fc.array(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })), { minLength: 1, maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(value, fc.boolean(), async (list, pretty) => {
      const { jsonValues } = await import('../../src/data/source/text.ts')
      const file = write('any.json', JSON.stringify(list, null, pretty ? 2 : 0))
      const got: unknown[] = []
      for await (const batch of jsonValues(file))
        for (const record of batch) if ('text' in record) got.push(JSON.parse(record.text))
      expect(got).toEqual(JSON.parse(JSON.stringify(list)))
    }),
    { numRuns: 60 },
  )
})
