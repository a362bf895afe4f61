import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readFeedback } from '../../src/data/read.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-data-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(content: string | Buffer, name = 'rows.jsonl'): string {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}

async function read(
  content: string | Buffer,
  options: Partial<{ onBadRow: 'error' | 'skip'; needLabels: boolean }> = {},
) {
  return readFeedback([file(content)], { onBadRow: 'error', needLabels: true, ...options })
}
const line = (row: object) => `${JSON.stringify(row)}\n`

test('judged completions, with blank lines, a byte order mark and no last line feed', async () => {
  const rows = `\uFEFF${line({ prompt: 'a', completion: 'b', label: true })}\n{"prompt":"c","completion":"","label":0}`
  const { rows: got, facts } = await read(rows)
  expect(got).toMatchObject([
    { prompt: 'a', completion: 'b', label: true, origin: { line: 1 } },
    { prompt: 'c', completion: '', label: false, origin: { line: 3 } },
  ])
  expect(facts.files[0]).toMatchObject({ rows: 2, desirable: 1, undesirable: 1, pairs: 0, skipped: 0 })
})

test('gzip is known by its bytes', async () => {
  const { rows } = await read(gzipSync(line({ prompt: 'a', completion: 'line\u2028separator', label: 1 })))
  expect(rows[0]!.completion).toBe('line\u2028separator')
})

test('a pair becomes a thumbs up and a thumbs down', async () => {
  const { rows, facts } = await read(line({ prompt: 'p', chosen: 'good', rejected: 'bad' }))
  expect(rows.map(({ prompt, completion, label }) => [prompt, completion, label])).toEqual([
    ['p', 'good', true],
    ['p', 'bad', false],
  ])
  expect(facts.files[0]!.pairs).toBe(1)
})

test('HH transcripts are parted where the last shared turn of the assistant begins', async () => {
  const before = '\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:'
  const { rows } = await read(line({ chosen: `${before} I think so.`, rejected: `${before} I do not know.` }))
  expect(rows[0]).toMatchObject({ prompt: before, completion: ' I think so.', label: true })
  expect(rows[1]).toMatchObject({ prompt: before, completion: ' I do not know.', label: false })
})

test('conversations: the last turn is judged', async () => {
  const messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Yo' },
  ]
  const { rows } = await read(line({ messages, label: false }))
  expect(rows[0]).toMatchObject({ prompt: [messages[0]], completion: [messages[1]], label: false })
})

test.each([
  ['{"prompt": "a"', /rows\.jsonl:1: not JSON/],
  [line({ prompt: 'a', completion: 'b' }), /rows\.jsonl:1: label is missing; expected true or 1/],
  [line({ prompt: 'a', completion: 'b', label: 'good' }), /label is "good"; expected true or 1/],
  [line({ prompt: 'a', answer: 'b', label: true }), /completion is missing; the row has prompt, answer, label/],
  [line({ prompt: '', completion: 'b', label: true }), /prompt is empty/],
  [line({ prompt: 7, completion: 'b', label: true }), /prompt must be a text or a list of messages, got 7/],
  [line({ chosen: 'x', rejected: 'y' }), /there is no prompt/],
  ['', /no rows; the file is empty/],
])('%j is refused with file, line and reason', async (content, message) => {
  await expect(read(content)).rejects.toThrow(message)
})

test('bad rows can be skipped, and are counted with reasons', async () => {
  const { rows, facts } = await read(`nonsense\n${line({ prompt: 'a', completion: 'b', label: true })}`, {
    onBadRow: 'skip',
  })
  expect(rows).toHaveLength(1)
  expect(facts.files[0]).toMatchObject({ skipped: 1, skippedBecause: [expect.stringContaining(':1: not JSON')] })
})

test('SFT rows need no label', async () => {
  const { rows } = await read(line({ prompt: 'a', completion: 'b' }), { needLabels: false })
  expect(rows[0]!.label).toBe(true)
})
