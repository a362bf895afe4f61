import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Template } from '@huggingface/jinja'
import { Tokenizer } from '@huggingface/tokenizers'
import { afterAll, expect, test } from 'vitest'
import { writeDemoFolder } from '../../src/demo/folder.ts'
import { sftMixture } from '../../src/demo/mixture.ts'
import { heldOutPrompts } from '../../src/demo/prompts.ts'
import { parseModelConfig } from '../../src/model/config.ts'

const folder = mkdtempSync(join(tmpdir(), 'demo-'))
afterAll(() => rmSync(folder, { recursive: true }))
writeDemoFolder(folder)
const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
const tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'))
const ids = (text: string, special = false) => tokenizer.encode(text, { add_special_tokens: special }).ids
const [bos, eos, unk] = ['<bos>', '<eos>', '<unk>'].map((token) => tokenizer.token_to_id(token)!) as [
  number,
  number,
  number,
]

test('all texts survive the round trip through the tokenizer', () => {
  const rows = sftMixture(5000, 1)
  const texts = [...heldOutPrompts(2000, 1), ...rows.flatMap(({ prompt, completion }) => [prompt, completion])]
  for (const text of texts) {
    const encoded = ids(text)
    expect(tokenizer.decode(encoded)).toBe(text)
    expect(encoded).not.toContain(unk)
  }
})

test('a prompt is at most 24 tokens with its <bos>, and so is a completion with its <eos>', () => {
  for (const { prompt, completion } of sftMixture(5000, 1)) {
    expect(ids(prompt, true)[0]).toBe(bos)
    expect(ids(prompt, true).length).toBeLessThanOrEqual(24)
    expect(ids(completion).length + 1).toBeLessThanOrEqual(24)
  }
})

test('a word that is not of the shop is <unk>', () => {
  expect(ids('How much is the moon?').filter((id: number) => id === unk)).toHaveLength(1)
})

test('the chat template gives the ids of plain text, with and without the reply', () => {
  const template = new Template(read('tokenizer_config.json').chat_template)
  const { prompt, completion } = sftMixture(1, 1)[0]!
  const user = { role: 'user', content: prompt }
  const assistant = { role: 'assistant', content: completion.trim() }
  const render = (messages: object[]) => ids(template.render({ messages, bos_token: '<bos>', eos_token: '<eos>' }))
  expect(render([user])).toEqual(ids(prompt, true))
  expect(render([user, assistant])).toEqual([...ids(prompt + completion, true), eos])
})

test('the decoder reads the configuration, whose vocabulary is the one of the tokenizer', () => {
  const config = parseModelConfig(read('config.json'), 'config.json')
  expect(config.vocabularySize).toBe(tokenizer.get_vocab().size)
  expect(config.vocabularySize).toBeLessThan(600)
  expect(read('config.json')).toMatchObject({ bos_token_id: bos, eos_token_id: eos })
})
