import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeByteTokenizer } from '../tiny-model.ts'

const program = fileURLToPath(new URL('../../bin/prospect.js', import.meta.url))
let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-data-cli-'))
  writeByteTokenizer(folder, {
    chat_template:
      "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
  })
  const rows = [
    {
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Yo', feedback: '👎' },
        { role: 'user', content: 'Politely?' },
        { role: 'assistant', content: 'Good day', feedback: '👍' },
      ],
    },
    { prompt: 'A long prompt, longer than the limit', completion: 'short <b>', label: 'up', weight: 0.5 },
    { prompt: 'Mail?', completion: 'jo@example.org', label: 'down' },
  ]
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const prospect = (...args: string[]) =>
  execFileSync(process.execPath, [program, 'data', ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })

test('inspect counts what is there, in the terminal, as a page and as JSON', () => {
  const text = prospect('inspect', '--data', 'rows.jsonl', '--html', 'report.html', '--json', 'report.json')
  expect(text).toMatch(/rows\.jsonl +3 +conversation, unpaired +4 +2 +2/)
  expect(text).toMatch(/e-mail addresses +1/)
  const report = JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8'))
  expect(report).toMatchObject({
    unit: 'characters',
    read: { rows: 4, desirable: 2, undesirable: 2 },
    findings: { email: { found: 1 } },
  })
  const html = readFileSync(join(folder, 'report.html'), 'utf8')
  expect(html).toContain('2 thumbs up')
  expect(html).not.toMatch(/(src|href)="https?:/)
})

test('inspect with a model counts tokens and what the limit cuts', () => {
  const text = prospect(
    'inspect',
    '--data',
    'rows.jsonl',
    '--model',
    '.',
    '--cache',
    'cache',
    '--max-length',
    '40',
    '--max-prompt-length',
    '20',
  )
  expect(text).toMatch(/at --max-length 40: \d+ \(.*\) prompts .* completions are cut: rows\.jsonl:\d/)
})

test("preview shows the rows of the first step, their cuts and each one's mismatched partner", () => {
  const text = prospect(
    'preview',
    '--data',
    'rows.jsonl',
    '--model',
    '.',
    '--cache',
    'cache',
    '--eval-split',
    '0',
    '--rows',
    '4',
    '--max-length',
    '30',
    '--max-prompt-length',
    '18',
    '--html',
    'preview.html',
  )
  expect(text.match(/^rows\.jsonl:\d/gm)).toHaveLength(4)
  expect(text).toMatch(
    /rows\.jsonl:2 {2}thumbs up {2}weight 0\.5 {2}18 \+ 10 tokens, 19 cut off\n<s>A long prompt, longer than the limitshort <b><\/s>/,
  )
  expect(text.match(/^y' of rows\.jsonl:\d: /gm)).toHaveLength(4)
  const html = readFileSync(join(folder, 'preview.html'), 'utf8')
  expect(html.match(/class="t cut"/g)!.length).toBeGreaterThan(18)
  expect(html).toContain('&lt;') // what is in the data is no markup
})

test('convert writes what training would use; reading that gives the same rows', () => {
  prospect('convert', '--data', 'rows.jsonl', '--personal', 'mask', '--output', 'plain.parquet')
  prospect('convert', '--data', 'plain.parquet', '--output', 'plain.jsonl')
  const rows = readFileSync(join(folder, 'plain.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(rows).toEqual([
    { prompt: [{ role: 'user', content: 'Hi' }], completion: [{ role: 'assistant', content: 'Yo' }], label: false },
    {
      prompt: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Yo' },
        { role: 'user', content: 'Politely?' },
      ],
      completion: [{ role: 'assistant', content: 'Good day' }],
      label: true,
    },
    { prompt: 'A long prompt, longer than the limit', completion: 'short <b>', label: true, weight: 0.5 },
    { prompt: 'Mail?', completion: '[email]', label: false },
  ])
})

test('convert --pairs keeps comparisons whole, as JSONL and as Parquet; what is no pair stays a plain row', () => {
  const pair = { prompt: 'Colour?', chosen: 'Blue', rejected: 'Seven', annotator: 'jo' }
  const alone = { prompt: 'Size?', completion: 'Large', label: true }
  const ranked = { prompt: 'Rank', completions: ['b', 'a', 'c'], ranks: [2, 1, 3] }
  writeFileSync(join(folder, 'mixed.jsonl'), [pair, alone, ranked].map((row) => `${JSON.stringify(row)}\n`).join(''))
  prospect('convert', '--data', 'mixed.jsonl', '--pairs', '--ranked', 'pairs', '--output', 'pairs.jsonl')
  const lines = (name: string) =>
    readFileSync(join(folder, name), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
  const ofRanks = [
    ['a', 'b'],
    ['a', 'c'],
    ['b', 'c'],
  ].map(([chosen, rejected]) => ({ prompt: 'Rank', chosen, rejected }))
  expect(lines('pairs.jsonl')).toEqual([pair, alone, ...ofRanks])
  expect(() => prospect('convert', '--data', 'pairs.jsonl', '--pairs', '--output', 'x.parquet')).toThrow(
    /1 rows are no half of a whole pair; write \.jsonl/,
  )
  writeFileSync(join(folder, 'only.jsonl'), `${JSON.stringify(pair)}\n`)
  prospect('convert', '--data', 'only.jsonl', '--pairs', '--output', 'only.parquet')
  prospect('convert', '--data', 'only.parquet', '--pairs', '--output', 'again.jsonl')
  expect(lines('again.jsonl')).toEqual([pair])
})

test('examples to imitate have no labels: inspect says how to look at them', () => {
  writeFileSync(join(folder, 'sft.jsonl'), `${JSON.stringify({ prompt: 'One?', completion: 'Two.' })}\n`)
  expect(() => prospect('inspect', '--data', 'sft.jsonl')).toThrow(/sft\.jsonl:1: label is missing; .*--unlabeled/)
  expect(prospect('inspect', '--data', 'sft.jsonl', '--unlabeled')).toMatch(/sft\.jsonl +1 +unpaired +1/)
})

test('an option that makes no sense is refused by name', () => {
  const run = () => prospect('convert', '--data', 'rows.jsonl', '--output', 'x.jsonl', '--map', 'prompt')
  expect(run).toThrow(/--map: "prompt" is not field=column/)
})
