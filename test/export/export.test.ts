import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { writeDemoFolder } from '../../src/demo/folder.ts'
import { exportModel } from '../../src/export/export.ts'
import { type ExportOptions, exportOptions } from '../../src/export/options.ts'
import type { HubHooks } from '../../src/hub/download.ts'
import { writeInitialWeights } from '../../src/model/create.ts'
import { openModelFolder } from '../../src/model/folder.ts'
import { scope } from '../../src/tensor/scope.ts'
import { LocalHub } from '../hub/server.ts'
import { writeTinyModel } from '../tiny-model.ts'
import { readGguf } from './read-gguf.ts'

let folder: string
let model: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-export-'))
  model = writeTinyModel(join(folder, 'model'))
  writeFileSync(join(model, 'chat_template.jinja'), '{{ messages[0].content }}')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const run = (options: ExportOptions, hooks?: HubHooks) => exportModel(exportOptions.parse(options), hooks)

/** A directory as a finished run leaves it. */
function runDirectory(name: string): string {
  const path = join(folder, name)
  mkdirSync(path)
  writeFileSync(join(path, 'config.yaml'), 'model: x\n')
  return path
}

describe('a GGUF file', () => {
  test('of a run has the weights of its result, its tokenizer, special tokens and chat template', async () => {
    const directory = runDirectory('run')
    writeTinyModel(join(directory, 'model'))
    copyFileSync(join(model, 'chat_template.jinja'), join(directory, 'model/chat_template.jinja'))
    const output = join(folder, 'out.gguf')
    expect(await run({ model: directory, gguf: 'f32', output })).toEqual({ path: output, url: null })
    const bytes = readFileSync(output)
    const { metadata, tensors } = readGguf(bytes)
    const tokenizer = loadTokenizer(join(directory, 'model'))
    expect(metadata).toMatchObject({
      'general.architecture': 'llama',
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'gpt-2',
      'tokenizer.ggml.bos_token_id': tokenizer.bos,
      'tokenizer.ggml.eos_token_id': tokenizer.eos,
      'tokenizer.ggml.add_bos_token': true,
      'tokenizer.chat_template': '{{ messages[0].content }}',
    })
    const { at } = tensors.find(({ name }) => name === 'output_norm.weight')!
    const norm = scope(() => openModelFolder(model).tensors.get('model.norm.weight')!.load().toArray())
    expect(bytes.readFloatLE(at)).toBe(norm[0])
  })

  test('of rows that 32 does not divide falls back to float16 where blocks are wanted', async () => {
    const odd = writeTinyModel(join(folder, 'odd'))
    const config = JSON.parse(readFileSync(join(odd, 'config.json'), 'utf8'))
    writeFileSync(join(odd, 'config.json'), JSON.stringify({ ...config, intermediate_size: 40 }))
    writeInitialWeights(odd, 1)
    const output = join(folder, 'odd.gguf')
    await run({ model: odd, gguf: 'q8_0', output })
    const types = Object.fromEntries(readGguf(readFileSync(output)).tensors.map(({ name, type }) => [name, type]))
    expect([types['blk.0.ffn_up.weight'], types['blk.0.ffn_down.weight']]).toEqual([8, 1])
  })

  test('of a tokenizer of words is refused, since llama.cpp has none', async () => {
    const words = join(folder, 'words')
    writeDemoFolder(words)
    writeInitialWeights(words, 1)
    const output = join(folder, 'words.gguf')
    await expect(run({ model: words, gguf: 'f16', output })).rejects.toThrow(
      /no tokenizer for decoders with a WordLevel model/,
    )
    expect(existsSync(output)).toBe(false)
  })

  test('of a tokenizer that cuts words otherwise is refused with its rule', async () => {
    const other = writeTinyModel(join(folder, 'other'))
    const tokenizer = JSON.parse(readFileSync(join(other, 'tokenizer.json'), 'utf8'))
    const split = { type: 'Split', pattern: { Regex: '[a-z]+' }, behavior: 'Isolated', invert: false }
    tokenizer.pre_tokenizer = {
      type: 'Sequence',
      pretokenizers: [split, { ...tokenizer.pre_tokenizer, use_regex: false }],
    }
    writeFileSync(join(other, 'tokenizer.json'), JSON.stringify(tokenizer))
    await expect(run({ model: other, gguf: 'f16', output: join(folder, 'x') })).rejects.toThrow(
      /pre_tokenizer does: .*\[a-z\]\+/,
    )
  })
})

test.each([
  [{}, /nothing to do: give --gguf/],
  [{ gguf: 'f16' as const }, /--output is needed: the file/],
  [{ gguf: 'f16' as const, push: 'a/b', output: 'x' }, /one at a time/],
])('options %j are refused', async (options, message) => {
  await expect(run({ model, ...options })).rejects.toThrow(message)
})

test('an output that is a folder, and a run that is not complete, are named', async () => {
  await expect(run({ model, gguf: 'f16', output: folder })).rejects.toThrow(
    /a folder; name the file, as in .*model\.gguf/,
  )
  const directory = runDirectory('unfinished')
  await expect(run({ model: directory, gguf: 'f16', output: 'x' })).rejects.toThrow(
    /not complete; continue with .*--resume/,
  )
})

test('--push uploads the result of a run', async () => {
  const hub = await new LocalHub().start()
  try {
    const directory = runDirectory('pushed')
    writeTinyModel(join(directory, 'model'))
    writeFileSync(join(directory, 'model/README.md'), '# Card')
    const settings = { endpoint: hub.endpoint, cache: folder, token: 'hf_x', offline: false }
    const { url } = await run({ model: directory, push: 'me/thumbs', private: true }, { settings })
    const { refs, commits } = hub.repositories.get('me/thumbs')!
    expect(url).toBe(`${hub.endpoint}/me/thumbs/commit/${refs.main}`)
    const files = commits[refs.main!]!
    expect(Object.keys(files).sort()).toEqual([
      'README.md',
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ])
    expect(files['model.safetensors']).toEqual(readFileSync(join(directory, 'model/model.safetensors')))
  } finally {
    await hub.stop()
  }
})
