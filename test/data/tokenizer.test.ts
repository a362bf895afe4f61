import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { bos, eos, writeByteTokenizer } from '../tiny-model.ts'

let root: string
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'prospect-tokenizer-'))
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

const write = (folder: string, name: string, content: object | string) =>
  writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))

/** A folder with the tokenizer of bytes, and files beside it. */
function byteFolder({ config = {}, files = {} }: { config?: object; files?: Record<string, object | string> } = {}) {
  const folder = mkdtempSync(join(root, 'bytes-'))
  writeByteTokenizer(folder, config as Record<string, unknown>)
  for (const [name, content] of Object.entries(files)) write(folder, name, content)
  return folder
}

/** SentencePiece as converted for Llama 2: a space, written as U+2581, before every text; bytes where a character is unknown. */
function sentencePieceFolder(): string {
  const folder = join(root, 'sentencepiece')
  mkdirSync(folder, { recursive: true })
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`)
  const pieces = ['<unk>', '<s>', '</s>', ...bytes, '▁', 'a', 'b', '▁a', '▁▁', 'ab']
  const added = pieces.slice(0, 3).map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }))
  const replace = (from: string, to: string) => ({ type: 'Replace', pattern: { String: from }, content: to })
  write(folder, 'tokenizer.json', {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace(' ', '▁')] },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        replace('▁', ' '),
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: ['▁ a', '▁ ▁', 'a b'],
    },
  })
  write(folder, 'tokenizer_config.json', { bos_token: '<s>', eos_token: '</s>' })
  return folder
}

describe('ids', () => {
  test('decode to the very text, whatever it is', () => {
    const tokenizer = loadTokenizer(byteFolder({ config: { clean_up_tokenization_spaces: true } }))
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
      }),
    )
    expect(tokenizer.decode(tokenizer.encode(" wait , it 's 👩‍👩‍👧 . "))).toBe(" wait , it 's 👩‍👩‍👧 . ")
  })

  test('of special tokens are added or left out only where asked', () => {
    const tokenizer = loadTokenizer(byteFolder())
    expect([...tokenizer.encode('a', { special: true })]).toEqual([bos, 97])
    expect([...tokenizer.encode('a')]).toEqual([97])
    expect(tokenizer.decode([bos, 97, eos])).toBe('<s>a</s>')
    expect(tokenizer.decode([bos, 97, eos], { skipSpecial: true })).toBe('a')
  })

  test.each(['a b', ' a', '  ab', '\nb a', 'é', ''])(
    'of SentencePiece, %j continuing a text are those that it has within that text',
    (text) => {
      const tokenizer = loadTokenizer(sentencePieceFolder())
      const before = tokenizer.encode('b\n')
      const whole = [...tokenizer.encode(`b\n${text}`)]
      expect([...before, ...tokenizer.encode(text, { continues: true })]).toEqual(whole)
    },
  )

  test('of SentencePiece get the space before a text that stands alone', () => {
    const tokenizer = loadTokenizer(sentencePieceFolder())
    expect(tokenizer.encode('a').length).toBe(1)
    expect(tokenizer.decode(tokenizer.encode('a'))).toBe('a')
    expect(tokenizer.encode('a', { continues: true })).not.toEqual(tokenizer.encode('a'))
  })
})

describe('special tokens', () => {
  test('BOS is one only where the tokenizer puts it before a text', () => {
    expect(loadTokenizer(byteFolder()).bos).toBe(bos)
    expect(loadTokenizer(sentencePieceFolder()).bos).toBeNull()
  })

  test('may be named as objects, and in special_tokens_map.json alone', () => {
    const folder = byteFolder()
    write(folder, 'tokenizer_config.json', {})
    write(folder, 'special_tokens_map.json', { bos_token: { content: '<s>' }, eos_token: { content: '</s>' } })
    expect(loadTokenizer(folder)).toMatchObject({ bos, eos, eosIds: [eos] })
  })

  test('all of generation_config.json end a reply', () => {
    const folder = byteFolder({ files: { 'generation_config.json': { eos_token_id: [eos, 65] } } })
    expect(loadTokenizer(folder)).toMatchObject({ eos, eosIds: [eos, 65] })
  })

  test("come from config.json where generation_config.json doesn't have them", () => {
    const files = { 'generation_config.json': { temperature: 1 }, 'config.json': { eos_token_id: 65 } }
    const folder = byteFolder({ config: { eos_token: null }, files })
    expect(loadTokenizer(folder)).toMatchObject({ eos: 65, eosIds: [65] })
  })
})

describe('chat templates', () => {
  const messages = [{ role: 'user', content: 'Hi' }]

  test('are those of chat_template.jinja before those of tokenizer_config.json', () => {
    const files = { 'chat_template.jinja': '{{ bos_token }}new{{ messages[0].content }}' }
    const tokenizer = loadTokenizer(byteFolder({ config: { chat_template: 'old' }, files }))
    expect(tokenizer.applyChatTemplate(messages)).toBe('<s>newHi')
  })

  test('may be several, of which the default one counts', () => {
    const chat_template = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'plain{% if add_generation_prompt %}>{% endif %}' },
    ]
    const tokenizer = loadTokenizer(byteFolder({ config: { chat_template } }))
    expect(tokenizer.applyChatTemplate(messages)).toBe('plain')
    expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toBe('plain>')
  })

  test('that are broken do not keep texts from being encoded', () => {
    const tokenizer = loadTokenizer(byteFolder({ config: { chat_template: '{% if %}' } }))
    expect([...tokenizer.encode('a')]).toEqual([97])
    expect(() => tokenizer.applyChatTemplate(messages)).toThrow()
  })

  test('that are missing are an error only where they are needed', () => {
    const tokenizer = loadTokenizer(byteFolder())
    expect(tokenizer.chatTemplate).toBeNull()
    expect(() => tokenizer.applyChatTemplate(messages)).toThrow(
      /must be texts, not messages; or pass --chat-template <file>/,
    )
  })

  test("may be given from a file, instead of the model's own", () => {
    const folder = byteFolder({ config: { chat_template: 'own' } })
    write(folder, 'given.jinja', 'given {{ messages[0].content }}')
    const tokenizer = loadTokenizer(folder, { chatTemplate: join(folder, 'given.jinja') })
    expect(tokenizer.applyChatTemplate(messages)).toBe('given Hi')
    expect(tokenizer.hash).not.toBe(loadTokenizer(folder).hash)
    expect(() => loadTokenizer(folder, { chatTemplate: join(folder, 'none.jinja') })).toThrow(
      /--chat-template .*none\.jinja/,
    )
  })

  test('strip the characters that they name, as Python does, and its white space', () => {
    const template =
      "{% for m in messages %}[{{ m.content.lstrip('-*') }}|{{ m.content.strip() }}|{{ m.content | trim }}]{% endfor %}"
    const tokenizer = loadTokenizer(byteFolder({ config: { chat_template: template } }))
    const render = (content: string) => tokenizer.applyChatTemplate([{ role: 'user', content }])
    expect(render('-*- a -')).toBe('[ a -|-*- a -|-*- a -]')
    expect(render('\u0085\x1c a\ufeff')).toBe('[\u0085\x1c a\ufeff|a\ufeff|a\ufeff]')
  })

  test('of another name, or with variables of their own, are used where asked', () => {
    const chat_template = [
      { name: 'default', template: "{{ 'plain' if tools is none else 'tools' }}" },
      { name: 'tool_use', template: '{{ tools[0].name }}' },
      { name: 'rag', template: '{{ extra }}' },
    ]
    const tokenizer = loadTokenizer(byteFolder({ config: { chat_template } }))
    expect(tokenizer.applyChatTemplate(messages)).toBe('plain')
    expect(tokenizer.applyChatTemplate(messages, { tools: [{ name: 'weather' }] })).toBe('weather')
    expect(tokenizer.applyChatTemplate(messages, { template: 'rag', variables: { extra: 7 } })).toBe('7')
    expect(() => tokenizer.applyChatTemplate(messages, { template: 'x' })).toThrow(
      "no chat template is named 'x'; there are default, tool_use, rag",
    )
  })

  test('of additional_chat_templates/ stand beside the one of the folder', () => {
    const folder = byteFolder({ files: { 'chat_template.jinja': 'plain' } })
    mkdirSync(join(folder, 'additional_chat_templates'))
    write(folder, 'additional_chat_templates/tool_use.jinja', 'tools')
    const tokenizer = loadTokenizer(folder)
    expect(tokenizer.applyChatTemplate(messages)).toBe('plain')
    expect(tokenizer.applyChatTemplate(messages, { tools: [] })).toBe('tools')
  })
})

test('the hash changes with whatever changes token ids or the end of replies', () => {
  const folders = [
    byteFolder(),
    byteFolder({ config: { chat_template: 'x' } }),
    byteFolder({ config: { eos_token: '<s>' } }),
    byteFolder({ files: { 'generation_config.json': { eos_token_id: 65 } } }),
    sentencePieceFolder(),
  ]
  expect(new Set(folders.map((folder) => loadTokenizer(folder).hash)).size).toBe(folders.length)
  expect(loadTokenizer(byteFolder()).hash).toBe(loadTokenizer(folders[0]!).hash)
})

describe('a folder that cannot be used', () => {
  test('without tokenizer.json says how to make one', () => {
    const folder = mkdtempSync(join(root, 'none-'))
    write(folder, 'tokenizer.model', 'sentencepiece')
    expect(() => loadTokenizer(folder)).toThrow(
      /no tokenizer\.json\. Where it has a tokenizer\.model, convert it: python/,
    )
  })

  test.each([
    ['{"model":', /tokenizer\.json: /],
    [
      { version: '1.0', model: { type: 'Novel' }, added_tokens: [] },
      /tokenizer\.json: not a tokenizer that can be used/,
    ],
  ])('with %j as tokenizer.json names the file', (content, message) => {
    const folder = mkdtempSync(join(root, 'bad-'))
    write(folder, 'tokenizer.json', content)
    expect(() => loadTokenizer(folder)).toThrow(message)
  })
})
