import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type DatasetOptions, openDataset } from '../../src/data/dataset.ts'
import { cacheLimit, evict } from '../../src/data/eviction.ts'
import { makePlan } from '../../src/data/plan.ts'
import { readFeedback } from '../../src/data/read.ts'
import { tokenizeRows } from '../../src/data/tokenize.ts'
import { loadTokenizer, type Tokenizer } from '../../src/data/tokenizer.ts'
import { writeByteTokenizer } from '../tiny-model.ts'

let folder: string
let tokenizer: Tokenizer
let cache: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-dataset-'))
  writeByteTokenizer(folder)
  tokenizer = loadTokenizer(folder)
})
beforeEach(() => {
  cache = mkdtempSync(join(folder, 'cache-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const rows = Array.from({ length: 1500 }, (_, i) => ({
  prompt: `Question ${i >> 1}?`,
  completion: i % 7 === 0 ? '' : `Answer ${i} ${'x'.repeat(i % 90)}`,
  label: i % 3 === 0 ? 'up' : 'down',
  weight: i % 5 === 0 ? 0.5 : 1,
}))
const file = (name: string, content = rows.map((row) => `${JSON.stringify(row)}\n`).join('')) => {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}
const options = (sources: string[], more: Partial<DatasetOptions> = {}): DatasetOptions => ({
  sources,
  read: { onBadRow: 'error', needLabels: true },
  tokenize: { maxLength: 60, maxPromptLength: 10, strict: false, onBadRow: 'error' },
  cache,
  ...more,
})

test('what comes out of the cache is what tokenising gives, row by row', async () => {
  const source = file('rows.jsonl')
  const { store, facts, cached } = await openDataset(options([source]), tokenizer)
  const { rows: read } = await readFeedback([source], options([]).read)
  const { examples, facts: want } = await tokenizeRows(read, tokenizer, options([]).tokenize)
  const got = Array.from({ length: store.length }, (_, row) => store.example(row, row))
  const view = ({
    prompt,
    completion,
    desirable,
    origin,
    promptGroup,
    completionGroup,
    index,
  }: (typeof examples)[number]) => ({
    prompt: Array.from(prompt),
    completion: Array.from(completion),
    desirable,
    origin,
    promptGroup,
    completionGroup,
    index,
  })
  expect(got.map(view)).toEqual(examples.map(view))
  expect(facts.tokenizing).toEqual(want.tokenizing)
  expect(cached).toBe(false)
  const again = await openDataset(options([source]), tokenizer)
  expect(again.cached).toBe(true)
  expect(again.facts).toEqual(facts)
  expect(Array.from(again.store.table.columns.weight)).toEqual(rows.map(({ weight }) => weight))
})

test('another content, option or tokenizer is another entry', async () => {
  const source = file('changing.jsonl')
  const open = (more: Partial<DatasetOptions> = {}) => openDataset(options([source], more), tokenizer)
  await open()
  expect((await open({ tokenize: { ...options([]).tokenize, maxLength: 61 } })).cached).toBe(false)
  expect((await open({ read: { ...options([]).read, limit: 5 } })).store.length).toBe(5)
  expect((await open({ mask: true })).cached).toBe(false)
  expect((await openDataset(options([source]), { ...tokenizer, hash: 'other' })).cached).toBe(false)
  file('changing.jsonl', `${JSON.stringify(rows[3])}\n`)
  expect((await open()).store.length).toBe(1)
})

test('of processes that need the same rows one does the work', async () => {
  const source = file('shared.jsonl')
  const all = await Promise.all([1, 2, 3, 4].map(() => openDataset(options([source]), tokenizer)))
  expect(all.map(({ store }) => store.length)).toEqual([1500, 1500, 1500, 1500])
  expect(readdirSync(join(cache, 'tokens'))).toHaveLength(1)
})

test('work that failed, or whose process died, leaves nothing that is taken for a result', async () => {
  const bad = file('bad.jsonl', `${JSON.stringify(rows[0])}\n{"prompt": "x"}\n`)
  await expect(openDataset(options([bad]), tokenizer)).rejects.toThrow(/bad\.jsonl:2: completion is missing/)
  expect(readdirSync(join(cache, 'tokens'))).toEqual([])
  const source = file('again.jsonl')
  await openDataset(options([source]), tokenizer)
  const [entry] = readdirSync(join(cache, 'tokens'))
  rmSync(join(cache, 'tokens', entry!), { recursive: true })
  const lock = join(cache, 'tokens', `${entry}.lock`)
  writeFileSync(lock, '1')
  utimesSync(lock, 0, 0) // its maker is long dead
  expect((await openDataset(options([source]), tokenizer)).store.length).toBe(1500)
})

test('four processes that start at once, and one that comes later, see the same rows and the same plan, byte for byte', async () => {
  const large = rows
    .map(
      (row, i) =>
        `${JSON.stringify({ ...row, completion: `${row.completion}${'word '.repeat(i % 7)}`, filler: 'x'.repeat(3000) })}\n`,
    )
    .join('')
  const source = file('large.jsonl', large) // large enough to be tokenised by threads in a process of its own
  expect(large.length).toBeGreaterThan(4_000_000)
  const { store, facts } = await openDataset(options([source], { cache: join(folder, 'other-cache') }), tokenizer) // without threads
  const hash = createHash('sha256').update(JSON.stringify(facts.tokenizing))
  const examples = Array.from({ length: store.length }, (_, row) => store.example(row, row))
  for (const { prompt, completion, desirable } of examples)
    hash.update(prompt).update(completion).update(String(desirable))
  const plan = makePlan({ examples, seed: 3, epochs: 2, batchSize: 32, mismatched: true })
  for (const step of [0, 1, plan.steps - 1]) hash.update(JSON.stringify(plan.batch(step)))
  const want = hash.digest('hex')
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
  const print = async () => {
    const args = [path('./print-dataset.mjs'), path('../../dist'), folder, source, cache]
    return (await promisify(execFile)(process.execPath, args)).stdout.trim()
  }
  expect(await Promise.all([print(), print(), print(), print()])).toEqual([want, want, want, want])
  expect(await print()).toBe(want)
})

test('over its limit the cache loses the entries that were not used for the longest time, and what is in use stays readable', async () => {
  const open = (name: string) =>
    openDataset(options([file(name, `${JSON.stringify({ ...rows[0], prompt: name })}\n`)]), tokenizer)
  const old = await open('old.jsonl')
  const tokens = join(cache, 'tokens')
  const [oldEntry] = readdirSync(tokens)
  await open('newer.jsonl')
  const entries = readdirSync(tokens).filter((name) => /^[0-9a-f]{32}$/.test(name))
  for (const name of entries)
    utimesSync(join(tokens, name), new Date(), new Date(Date.now() - (name === oldEntry ? 2 : 1) * 3_600_000))
  expect(evict(tokens, 1e9)).toEqual([])
  expect(evict(tokens, 1, 5_400_000)).toEqual([oldEntry])
  expect(readdirSync(tokens)).not.toContain(oldEntry)
  expect(old.store.prompt(0).length).toBeGreaterThan(0)
  expect((await open('old.jsonl')).cached).toBe(false)
})

test('opening an entry counts as use', async () => {
  const source = options([file('used.jsonl')])
  await openDataset(source, tokenizer)
  const tokens = join(cache, 'tokens')
  const [entry] = readdirSync(tokens)
  utimesSync(join(tokens, entry!), new Date(0), new Date(0))
  expect((await openDataset(source, tokenizer)).cached).toBe(true)
  expect(evict(tokens, 0)).toEqual([])
})

test('the limit of the cache is a number of gigabytes', () => {
  expect(cacheLimit('2.5')).toBe(2.5e9)
  expect(() => cacheLimit('much')).toThrow('PROSPECT_CACHE_GB is "much"')
})
