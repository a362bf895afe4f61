import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ReadOptions, readFeedback } from '../../src/data/read.ts'
import { parseThreshold } from '../../src/data/threshold.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-data-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(content: string | Buffer, name = 'rows.jsonl'): string {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}

async function read(content: string | Buffer, options: Partial<ReadOptions> = {}) {
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
  [
    line({ prompt: 'a', completion: 'b', label: 'meh' }) +
      line({ prompt: 'a', completion: 'b', label: 'ok' }).repeat(2),
    /rows\.jsonl:1: label is "meh"; expected true or 1.*found in this file: "ok" \(2\), "meh" \(1\); .*--labels ok=up,meh=down/,
  ],
  [line({ prompt: 'a', completion: 'b', label: 4 }), /label is 4; .*--threshold/],
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

const user = (content: string) => ({ role: 'user', content })
const assistant = (content: string) => ({ role: 'assistant', content })
const system = { role: 'system', content: 'Be brief.' }

/** Prompt and both completions of a pair. */
async function readPair(row: object) {
  const { rows } = await read(line(row))
  expect(rows.map(({ label }) => label)).toEqual([true, false])
  expect(rows[1]!.prompt).toEqual(rows[0]!.prompt)
  return { prompt: rows[0]!.prompt, chosen: rows[0]!.completion, rejected: rows[1]!.completion }
}

test('HH transcripts that part before their last turns have the rest as completions', async () => {
  const before = '\n\nHuman: Hi\n\nAssistant:'
  const [chosen, rejected] = [`${before} Hello\n\nHuman: Why?\n\nAssistant: So.`, `${before} Help!`]
  expect(await readPair({ chosen, rejected })).toEqual({
    prompt: before,
    chosen: ' Hello\n\nHuman: Why?\n\nAssistant: So.',
    rejected: ' Help!',
  })
})

test.each([
  ['beside the answers', { prompt: [system, user('Hi')], chosen: [assistant('a')], rejected: [assistant('b')] }],
  [
    'repeated in the answers, keys in any order',
    {
      prompt: [system, user('Hi')],
      chosen: [system, user('Hi'), assistant('a')],
      rejected: [system, { content: 'Hi', role: 'user' }, assistant('b')],
    },
  ],
  [
    'only in the answers',
    { chosen: [system, user('Hi'), assistant('a')], rejected: [system, user('Hi'), assistant('b')] },
  ],
  [
    'also as a text (UltraFeedback)',
    { prompt: 'Hi', chosen: [system, user('Hi'), assistant('a')], rejected: [system, user('Hi'), assistant('b')] },
  ],
])('the prompt of a pair of conversations may stand %s', async (_, row) => {
  expect(await readPair(row)).toEqual({
    prompt: [system, user('Hi')],
    chosen: [assistant('a')],
    rejected: [assistant('b')],
  })
})

test('conversations that part at a turn of the user, or end early, have the reply before it in their completions', async () => {
  const start = [user('Hi'), assistant('a')]
  expect(await readPair({ chosen: [...start, user('x'), assistant('b')], rejected: start })).toEqual({
    prompt: [user('Hi')],
    chosen: [assistant('a'), user('x'), assistant('b')],
    rejected: [assistant('a')],
  })
})

test('conversations that both go on, but part at a turn of the user, do so too', async () => {
  const start = [user('Hi'), assistant('a')]
  const [chosen, rejected] = [
    [...start, user('x'), assistant('b')],
    [...start, user('y'), assistant('c')],
  ]
  expect(await readPair({ chosen, rejected })).toEqual({
    prompt: [user('Hi')],
    chosen: chosen.slice(1),
    rejected: rejected.slice(1),
  })
})

test('a reply may be a tool call without text', async () => {
  const reply = { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: {} } }] }
  const { rows } = await read(line({ prompt: [user('Hi')], completion: [reply], label: true }))
  expect(rows[0]!.completion).toEqual([reply])
})

test.each([
  [{ prompt: 'a', completion: [], label: true }, /completion must end with a turn of the assistant, got \[\]/],
  [{ prompt: 'a', completion: [user('b')], label: true }, /completion must end with a turn of the assistant/],
  [{ messages: [assistant('b')], label: true }, /messages has one turn/],
  [{ messages: [user('b'), { role: 'assistant', content: ['b'] }], label: true }, /messages\[1\] must be a message/],
  [
    { prompt: [user('x')], chosen: [user('y'), assistant('a')], rejected: [user('y'), assistant('b')] },
    /other messages/,
  ],
  [{ chosen: [user('x'), assistant('a')], rejected: [user('y'), assistant('b')] }, /share no messages before a reply/],
  [{ prompt: 'a', chosen: 'b', rejected: [assistant('b')] }, /must both be texts, or both lists of messages/],
])('%j is refused', async (row, message) => {
  await expect(read(line(row))).rejects.toThrow(message)
})

test('bytes that are not UTF-8 are refused, never replaced', async () => {
  const rows = `${line({ prompt: 'a', completion: 'b', label: true })}${line({ prompt: 'é', completion: 'b', label: true })}`
  await expect(read(Buffer.from(rows, 'latin1'))).rejects.toThrow(/rows\.jsonl:2: not UTF-8/)
})

test('a file of which nothing can be used is an error even where bad rows are skipped', async () => {
  await expect(read('{}\n[]\n', { onBadRow: 'skip' })).rejects.toThrow(
    /no rows; all 2 were skipped: .*:1: no known shape; the row has no fields/,
  )
})

test('several files are read in their order, each with its own facts', async () => {
  const row = (prompt: string, label: boolean) => line({ prompt, completion: 'x', label })
  const files = [file(row('a', true), 'a.jsonl'), file(row('b', false) + row('c', false), 'b.jsonl')]
  const { rows, facts } = await readFeedback(files, { onBadRow: 'error', needLabels: true })
  expect(rows.map(({ prompt, origin }) => [prompt, origin.line])).toEqual([
    ['a', 1],
    ['b', 1],
    ['c', 2],
  ])
  expect(facts.files.map(({ rows, desirable, undesirable }) => [rows, desirable, undesirable])).toEqual([
    [1, 1, 0],
    [2, 0, 2],
  ])
  await expect(readFeedback([join(folder, 'none.jsonl')], { onBadRow: 'error', needLabels: true })).rejects.toThrow(
    /none\.jsonl: no such file/,
  )
})

test('of several files, one that --where or the lack of judgements leaves empty is no mistake; all of them are', async () => {
  const row = (day: number) => line({ prompt: 'a', completion: 'x', label: true, day })
  const files = [file(row(1), 'a.jsonl'), file(row(2), 'b.jsonl')]
  const options = { onBadRow: 'error', needLabels: true } as const
  const { rows, facts } = await readFeedback(files, { ...options, where: 'day > 1' })
  expect(rows).toHaveLength(1)
  expect(facts.files.map(({ rows }) => rows)).toEqual([0, 1])
  await expect(readFeedback(files, { ...options, where: 'day > 2' })).rejects.toThrow(
    /a\.jsonl: no rows, and none in 1 more; no record satisfies --where "day > 2"/,
  )
  await expect(readFeedback([...files, file('', 'c.jsonl')], options)).rejects.toThrow(
    /c\.jsonl: no rows; the file is empty/,
  )
})

test('a label that is a score is judged by --threshold, a drawn one too', async () => {
  const stars = [1, 2, 4, 5].map((label) => line({ prompt: 'a', completion: `${label}`, label })).join('')
  const labels = async (threshold: string) =>
    (await read(stars, { threshold: parseThreshold(threshold) })).rows.map(({ label }) => label)
  await expect(read(stars)).rejects.toThrow(/--threshold <number>/)
  expect(await labels('4')).toEqual([false, false, true, true])
  expect(await labels('mean')).toEqual([false, false, true, true])
  expect(await labels('quantiles:0.1')).toEqual([false, true])
})
