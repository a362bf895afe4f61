import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { readTemplates } from '../../src/data/chat-template.ts'
import { compile } from '../../src/data/jinja.ts'
import { createCore, plainEncoder } from '../../src/data/tokenizer-core.ts'
import { randomNumbers } from './fuzz.ts'

// What is fast must be what is exact: compiled templates and the table of words against the libraries that they stand in for.
const golden = join(import.meta.dirname, '../golden/tokenizers')
const folders = readdirSync(golden).filter((name) => !name.includes('.'))
const config = (name: string) => JSON.parse(readFileSync(join(golden, name, 'tokenizer_config.json'), 'utf8'))
const templates = folders.flatMap((name) =>
  [...readTemplates(join(golden, name), config(name))].map(([which, source]) => [`${name} ${which}`, source] as const),
)
const pieces = [
  '',
  'a',
  ' ',
  '\n',
  '<think>x</think>',
  '<|im_end|>',
  '</s>',
  '[INST]',
  'é',
  '\ud83e\uddc0',
  '"',
  '\\',
  '<tool_response>',
  'word ',
]

function conversation(random: () => number): Record<string, unknown>[] {
  const pick = <T>(values: readonly T[]) => values[Math.floor(random() * values.length)]!
  const text = () => Array.from({ length: Math.floor(random() * 4) }, () => pick(pieces)).join('')
  const roles = random() < 0.8 ? ['user', 'assistant'] : ['system', 'user', 'assistant', 'tool', 'other']
  const system = random() < 0.3 ? [{ role: 'system', content: text() }] : []
  const turns = Array.from({ length: Math.floor(random() * 5) }, (_, i) => ({
    role: random() < 0.9 ? roles[i % roles.length]! : pick(roles),
    content: random() < 0.97 ? text() : pick([null, [], 5]),
    ...(random() < 0.1 && {
      tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: { a: text() } } }],
    }),
    ...(random() < 0.1 && { reasoning_content: text() }),
  }))
  return [...system, ...turns]
}

const outcome = (render: () => string) => {
  try {
    return render()
  } catch (error) {
    return error as Error
  }
}

test.each(templates)(
  '%s: 300 random conversations render as the library renders them, or are refused alike',
  (_, source) => {
    const template = compile(source)
    const random = randomNumbers(7)
    for (let i = 0; i < 300; i++) {
      const variables = {
        bos_token: '<s>',
        eos_token: '</s>',
        messages: conversation(random),
        tools:
          random() < 0.9 ? null : [{ type: 'function', function: { name: 'f', description: 'd', parameters: {} } }],
        documents: null,
        add_generation_prompt: random() < 0.5,
      }
      expect(outcome(() => template.render(variables))).toEqual(outcome(() => template.renderSlowly(variables)))
    }
  },
)

test.each(templates.filter(([name]) => !name.endsWith('tool_use')))(
  '%s: a plain conversation needs no library',
  (_, source) => {
    const template = compile(source)
    const variables = {
      ...{ bos_token: '<s>', eos_token: '</s>', tools: null, documents: null, add_generation_prompt: true },
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Hello' },
        { role: 'user', content: 'Bye' },
      ],
    }
    template.render(variables)
    expect(template.leftToLibrary()).toBe(0)
  },
)

const { texts } = JSON.parse(gunzipSync(readFileSync(join(golden, 'texts.json.gz'))).toString()) as { texts: string[] }

test.each(folders)('%s: 2,000 texts of random pieces have the ids that the library gives', (name) => {
  const core = createCore(JSON.parse(readFileSync(join(golden, name, 'tokenizer.json'), 'utf8')), config(name))
  const encode = plainEncoder(core)
  const random = randomNumbers(11)
  const piece = () => {
    const text = texts[Math.floor(random() * texts.length)]!
    const start = Math.floor(random() * text.length)
    return random() < 0.2
      ? pieces[Math.floor(random() * pieces.length)]!
      : text.slice(start, start + Math.floor(random() * 30))
  }
  for (let i = 0; i < 2000; i++) {
    const text = Array.from({ length: Math.floor(random() * 6) }, piece).join('')
    expect([...encode(text)], JSON.stringify(text)).toEqual(core.encode(text, { add_special_tokens: false }).ids)
  }
})
