import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import type { Message } from '../../src/data/types.ts'

// Vocabularies, ids and rendered conversations are those of Python's tokenizers and transformers; test/golden/make_tokenizers.py wrote them.
const golden = join(import.meta.dirname, '../golden/tokenizers')

interface Conversation {
  messages: Message[]
  tools: Record<string, unknown>[] | null
  add_generation_prompt: boolean
}

interface Expected {
  ids: number[][]
  with_special: number[][]
  decoded: Record<string, string>
  decoded_without_special: Record<string, string>
  drawn: { ids: number[]; text: string }[]
  chats: ({ text: string; ids: number[] } | { error: string })[] | null
}

function packed<T>(...path: string[]): T {
  return JSON.parse(gunzipSync(readFileSync(join(golden, ...path))).toString('utf8')) as T
}

const { texts, conversations } = packed<{ texts: string[]; conversations: Conversation[] }>('texts.json.gz')
const more = (process.env.PROSPECT_TOKENIZERS ?? '').split(':').filter(Boolean) // folders of real ones; test/golden/README.md says how
const names = [...readdirSync(golden), ...more.map((folder) => relative(golden, folder))].filter((name) =>
  existsSync(join(golden, name, 'expected.json.gz')),
)

describe.each(names)('%s', (name) => {
  const tokenizer = loadTokenizer(join(golden, name))
  const expected = packed<Expected>(name, 'expected.json.gz')

  test('gives 1,000 texts the ids that Python gives them', () => {
    expect(texts.length).toBe(1000)
    const wrong = texts.flatMap((text, i) => {
      const ids = [...tokenizer.encode(text)]
      return same(ids, expected.ids[i]!) ? [] : [{ text, ids, expected: expected.ids[i] }]
    })
    expect(wrong).toEqual([])
  })

  test('puts the same special tokens around a text', () => {
    const ids = expected.with_special.map((_, i) => [...tokenizer.encode(texts[i]!, { special: true })])
    expect(ids).toEqual(expected.with_special)
  })

  test('decodes them to the same texts, with special tokens and without', () => {
    const wrong = texts.flatMap((text, i) => {
      const whole = expected.decoded[i] ?? text
      const plain = expected.decoded_without_special[i] ?? whole
      const ids = expected.ids[i]!
      const decoded = [tokenizer.decode(ids), tokenizer.decode(ids, { skipSpecial: true })]
      return same(decoded, [whole, plain]) ? [] : [{ text, decoded, expected: [whole, plain] }]
    })
    expect(wrong).toEqual([])
  })

  test('decodes what a model may say, broken characters included, to the same texts', () => {
    expect(expected.drawn.map(({ ids }) => ({ ids, text: tokenizer.decode(ids) }))).toEqual(expected.drawn)
  })

  test.runIf(expected.chats)(
    'renders 50 conversations as transformers does, or refuses them for the same reason',
    () => {
      expect(conversations.length).toBe(50)
      const rendered = conversations.map(({ messages, tools, add_generation_prompt }) => {
        try {
          const text = tokenizer.applyChatTemplate(messages, {
            addGenerationPrompt: add_generation_prompt,
            ...(tools && { tools }),
          })
          return { text, ids: [...tokenizer.encode(text)] }
        } catch (error) {
          return { error: (error as Error).message }
        }
      })
      for (const [i, result] of rendered.entries()) {
        const wanted = expected.chats![i]!
        if ('error' in wanted) expect(result).toEqual({ error: expect.stringContaining(wanted.error) })
        else expect(result).toEqual(wanted)
      }
    },
  )
})

function same<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i])
}
