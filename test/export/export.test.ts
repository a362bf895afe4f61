import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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
import { loadDecoder } from '../../src/model/load.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { scope } from '../../src/tensor/scope.ts'
import { LocalHub } from '../hub/server.ts'
import { writeByteTokenizer, writeTinyModel } from '../tiny-model.ts'
import { golden, relativeDifference } from '../train/fixtures.ts'
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

/** An adapter of PEFT's and its base, with a tokenizer of printable characters. */
function adapterAndBase(name: string): { adapter: string; base: string; expected: string } {
  const peft = golden(`peft/${name}`)
  const { base_model_name_or_path: beside } = JSON.parse(readFileSync(join(peft, 'adapter_config.json'), 'utf8'))
  const [adapter, base] = [join(folder, name), join(folder, `${name}-base`)]
  cpSync(peft, adapter, { recursive: true })
  cpSync(join(peft, beside), base, { recursive: true })
  writeByteTokenizer(base)
  const tokenizer = JSON.parse(readFileSync(join(base, 'tokenizer.json'), 'utf8'))
  tokenizer.model.vocab = Object.fromEntries(Array.from({ length: 90 }, (_, i) => [String.fromCharCode(33 + i), i]))
  tokenizer.added_tokens = []
  tokenizer.post_processor = null
  writeFileSync(join(base, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(join(adapter, 'README.md'), '---\nlibrary_name: peft\n---\n# Card')
  return { adapter, base, expected: join(peft, 'expected.safetensors') }
}

describe('an adapter', () => {
  test.each(['lora', 'full'])('%s is merged to a model folder with the weights that PEFT merges', async (name) => {
    const { adapter, base, expected } = adapterAndBase(name)
    const output = join(folder, `${name}-merged`)
    expect(await run({ model: adapter, base, merge: true, output })).toEqual({ path: output, url: null })
    const merged = openModelFolder(output)
    const wanted = [...readSafetensors(expected).tensors].filter(([key]) => key.startsWith('merged/'))
    expect(wanted.length).toBeGreaterThan(0)
    for (const [key, entry] of wanted) {
      const ours = scope(() => merged.tensors.get(key.slice('merged/'.length))!.load().to('float32').toArray())
      expect(
        relativeDifference(
          ours,
          scope(() => entry.load().toArray()),
        ),
        key,
      ).toBeLessThan(1e-6)
    }
    const parameters = loadDecoder(merged, 'float32') // names and shapes fit config.json, a head that is tied no more too
    parameters.dispose()
    expect(merged.companions).toContain('tokenizer.json')
    expect(readFileSync(join(output, 'README.md'), 'utf8')).toContain('library_name: transformers')
  })

  test('gives the GGUF file that its merged model gives', async () => {
    const { adapter, base } = adapterAndBase('dora')
    const merged = join(folder, 'dora-merged', 'dora') // of one name, which is in the file
    await run({ model: adapter, base, merge: true, output: merged })
    const [direct, through] = [join(folder, 'direct.gguf'), join(folder, 'through.gguf')]
    await run({ model: adapter, base, gguf: 'bf16', output: direct })
    await run({ model: merged, gguf: 'bf16', output: through })
    expect(readFileSync(direct).equals(readFileSync(through))).toBe(true)
  })

  test('is uploaded as it is, or merged', async () => {
    const hub = await new LocalHub().start()
    try {
      const { adapter, base } = adapterAndBase('rslora')
      const settings = { endpoint: hub.endpoint, cache: folder, token: 'hf_x', offline: false }
      await run({ model: adapter, push: 'me/adapter' }, { settings })
      await run({ model: adapter, base, merge: true, push: 'me/merged' }, { settings })
      const names = (repository: string) => {
        const { refs, commits } = hub.repositories.get(repository)!
        return Object.keys(commits[refs.main!]!)
      }
      expect(names('me/adapter')).toEqual(expect.arrayContaining(['adapter_config.json', 'adapter_model.safetensors']))
      expect(names('me/merged')).toEqual(expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']))
      expect(names('me/merged')).not.toContain('adapter_config.json')
    } finally {
      await hub.stop()
    }
  })

  test('is what --merge is for', async () => {
    await expect(run({ model, merge: true, output: join(folder, 'x') })).rejects.toThrow(/is no adapter; it is whole/)
  })
})

test.each([
  [{}, /nothing to do: give --gguf/],
  [{ gguf: 'f16' as const }, /--output is needed: the file/],
  [{ gguf: 'f16' as const, push: 'a/b', output: 'x' }, /one at a time/],
  [{ merge: true }, /--output is needed: the folder/],
])('options %j are refused', async (options, message) => {
  await expect(run({ model, ...options })).rejects.toThrow(message)
})

test('nothing that is there already is replaced', async () => {
  const taken = join(folder, 'taken')
  mkdirSync(taken)
  writeFileSync(join(taken, 'precious.txt'), 'hi')
  await expect(run({ model, merge: true, output: taken })).rejects.toThrow(
    /taken: there already, and all in it would be/,
  )
  await expect(run({ model, gguf: 'f16', output: join(taken, 'precious.txt') })).rejects.toThrow(/no GGUF file; name/)
  expect(readFileSync(join(taken, 'precious.txt'), 'utf8')).toBe('hi')
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
