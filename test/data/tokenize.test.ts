import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodePrompt, type TokenizeOptions, tokenizeRows } from '../../src/data/tokenize.ts'
import { loadTokenizer, type Tokenizer } from '../../src/data/tokenizer.ts'
import type { FeedbackRow, Message } from '../../src/data/types.ts'
import { bos, eos, writeByteTokenizer } from '../tiny-model.ts'

const template =
  "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
let folder: string
let tokenizer: Tokenizer

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-tokens-'))
  writeByteTokenizer(folder, { chat_template: template })
  tokenizer = loadTokenizer(folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const row = (prompt: string | Message[], completion: string | Message[], label = true): FeedbackRow => ({
  prompt,
  completion,
  label,
  origin: { file: 'rows.jsonl', line: 4 },
})
const limits: TokenizeOptions = { maxLength: 512, maxPromptLength: 256, strict: false, onBadRow: 'error' }
const tokenize = (rows: FeedbackRow[], more: Partial<TokenizeOptions> = {}) =>
  tokenizeRows(rows, tokenizer, { ...limits, ...more })
const bytes = (text: string) => Array.from(Buffer.from(text))

describe('what the model sees', () => {
  test('a text: BOS, prompt, completion, EOS', async () => {
    const { examples } = await tokenize([row('Hi é', 'yes')])
    expect(Array.from(examples[0]!.prompt)).toEqual([bos, ...bytes('Hi é')])
    expect(Array.from(examples[0]!.completion)).toEqual([...bytes('yes'), eos])
  })

  test('neither BOS nor EOS is doubled', async () => {
    const { examples } = await tokenize([row('<s>Hi', 'yes</s>')])
    expect(Array.from(examples[0]!.prompt)).toEqual([bos, ...bytes('Hi')])
    expect(Array.from(examples[0]!.completion)).toEqual([...bytes('yes'), eos])
  })

  test('an empty completion is EOS alone and keeps its label', async () => {
    const { examples } = await tokenize([row('Hi', '', false)])
    expect(examples[0]).toMatchObject({ completion: Int32Array.of(eos), desirable: false })
  })

  test("messages go through the template; what follows the turn's end is not trained on", async () => {
    const { examples } = await tokenize([
      row([{ role: 'user', content: 'Hi' }], [{ role: 'assistant', content: 'yes' }]),
    ])
    expect(tokenizer.decode(examples[0]!.prompt)).toBe('<user>Hi</s>\n<assistant>')
    expect(Array.from(examples[0]!.completion)).toEqual([...bytes('yes'), eos])
    expect(encodePrompt([{ role: 'user', content: 'Hi' }], tokenizer)).toEqual(examples[0]!.prompt)
  })

  test("a row's tools are shown to the template, in training and before a reply alike", async () => {
    const plain = loadTokenizer(folder)
    const chat = '{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}'
    writeByteTokenizer(folder, { chat_template: chat + template })
    const withTools = loadTokenizer(folder)
    writeByteTokenizer(folder, { chat_template: template })
    const tools = [{ type: 'function', function: { name: 'weather', parameters: {} } }]
    const given = row([{ role: 'user', content: 'Hi' }], [{ role: 'assistant', content: 'yes' }])
    const { examples } = await tokenizeRows([{ ...given, tools }, given], withTools, limits)
    expect(withTools.decode(examples[0]!.prompt)).toBe('[weather]<user>Hi</s>\n<assistant>')
    expect(Array.from(examples[0]!.completion)).toEqual([...bytes('yes'), eos])
    expect(examples[1]!.prompt).toEqual(encodePrompt(given.prompt, plain))
    expect(examples[1]!.promptGroup).not.toBe(examples[0]!.promptGroup)
    expect(encodePrompt(given.prompt, withTools, tools)).toEqual(examples[0]!.prompt)
  })

  test('equal prompts share a group, others do not', async () => {
    const { examples } = await tokenize([row('a', 'x'), row('b', 'x'), row('a', 'y')])
    expect(examples.map(({ promptGroup, completionGroup }) => [promptGroup, completionGroup])).toEqual([
      [0, 0],
      [1, 0],
      [0, 1],
    ])
  })
})

describe('rows that are too long', () => {
  const long = row('p'.repeat(30), 'c'.repeat(20))

  test('lose the beginning of the prompt after BOS, then the end of the completion, and are counted', async () => {
    const { examples, facts } = await tokenize([long], { maxLength: 20, maxPromptLength: 8 })
    expect(examples[0]!.prompt).toEqual(Int32Array.of(bos, ...bytes('p'.repeat(7))))
    expect(examples[0]!.completion).toEqual(Int32Array.from(bytes('c'.repeat(12))))
    expect(facts.tokenizing).toMatchObject({ promptsCut: 1, completionsCut: 1, cut: ['rows.jsonl:4: 52 tokens'] })
  })

  test('keep a completion token even where the prompt may take all', async () => {
    const { examples } = await tokenize([long], { maxLength: 10, maxPromptLength: 64 })
    expect([examples[0]!.prompt.length, examples[0]!.completion.length]).toEqual([9, 1])
  })

  test('are an error with strict', async () => {
    await expect(tokenize([long], { maxLength: 20, strict: true })).rejects.toThrow(
      /rows\.jsonl:4: the row has 52 tokens/,
    )
  })
})

/** Loads a tokenizer with another template. */
function withTemplate(chat_template: string): Tokenizer {
  const other = mkdtempSync(join(folder, 'template-'))
  writeByteTokenizer(other, { chat_template })
  return loadTokenizer(other)
}

describe('templates', () => {
  const chat = row([{ role: 'user', content: 'Hi' }], [{ role: 'assistant', content: 'yes' }])

  test('that end the last reply without EOS keep all of it, though EOS ends the turns before', async () => {
    const open = withTemplate(
      "{% for m in messages %}{{ m['content'] }}{% if not loop.last or m['role'] == 'user' %}</s>{% endif %}{% endfor %}",
    )
    const turns = ['a', 'b'].map((content) => ({ role: 'assistant', content }))
    const { examples } = await tokenizeRows([row([{ role: 'user', content: 'Hi' }], turns)], open, limits)
    expect(open.decode(examples[0]!.completion)).toBe('a</s>b</s>')
  })

  test('that change the prompt once it is answered are an error that names the row', async () => {
    const fickle = withTemplate('{{ messages | length }}{{ messages[-1].content }}')
    await expect(tokenizeRows([chat], fickle, limits)).rejects.toThrow(
      /rows\.jsonl:4: the chat template renders the prompt differently/,
    )
  })

  test('that refuse a conversation do so with their own words and the row, or the row is skipped and counted', async () => {
    const strict = withTemplate("{{ raise_exception('roles must alternate') }}")
    await expect(tokenizeRows([chat], strict, limits)).rejects.toThrow(/rows\.jsonl:4: .*roles must alternate/)
    const { examples, facts } = await tokenizeRows([chat, row('a', 'b')], strict, { ...limits, onBadRow: 'skip' })
    expect(examples.map(({ index }) => index)).toEqual([0])
    expect(facts.tokenizing).toMatchObject({ skipped: 1, skippedBecause: [expect.stringContaining('alternate')] })
  })
})

test('strict also refuses what would be skipped', async () => {
  const long = row('p'.repeat(30), 'c')
  const options = { maxLength: 20, strict: true, onBadRow: 'skip' } as const
  await expect(tokenize([row('a', 'b'), long], options)).rejects.toThrow(/--strict is set/)
})

test('progress is reported, and other work gets its turn', async () => {
  const done: number[] = []
  let turns = 0
  const timer = setInterval(() => turns++, 0)
  const rows = Array.from({ length: 1200 }, () => row('prompt', 'completion'))
  await tokenize(rows, { progress: (count) => done.push(count) })
  clearInterval(timer)
  expect(done).toEqual([0, 500, 1000, 1200])
  expect(turns).toBeGreaterThan(0)
})
