import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { disposeAdapter } from '../../../src/model/adapters/adapter.ts'
import { loadAdapter, openAdapterFolder, saveAdapterFolder } from '../../../src/model/adapters/folder.ts'
import { mergeAdapter } from '../../../src/model/adapters/merge.ts'
import { segmentAttention } from '../../../src/model/attention.ts'
import { Decoder, streamTensors } from '../../../src/model/decoder.ts'
import { openModelFolder } from '../../../src/model/folder.ts'
import { loadDecoder } from '../../../src/model/load.ts'
import { modelShapes, openModel } from '../../../src/model/open.ts'
import { readSafetensors } from '../../../src/tensor/safetensors.ts'
import { noGrad, scope } from '../../../src/tensor/scope.ts'
import { golden, relativeDifference } from '../../train/fixtures.ts'

const cases = ['lora', 'rslora', 'dora', 'full', 'embedding', 'gpt-neox', 'phi3', 'gemma3']
const folder = mkdtempSync(join(tmpdir(), 'prospect-peft-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function logits(decoder: Decoder, tokens: Int32Array): Float32Array {
  return scope(() =>
    noGrad(() => {
      const weights = decoder.computeWeights('float32')
      const positions = Int32Array.from(tokens, (_, i) => i)
      const attention = segmentAttention([{ start: 0, length: tokens.length, parent: -1 }])
      return decoder
        .logits(weights, decoder.hidden(weights, streamTensors({ tokens, positions }, decoder.device), attention))
        .toArray()
    }),
  )
}

function expected(name: string) {
  const { tensors } = readSafetensors(join(golden('peft'), name, 'expected.safetensors'))
  const read = (key: string) => scope(() => tensors.get(key)!.load().toArray())
  return { tokens: Int32Array.from(read('tokens')), logits: read('logits'), names: [...tensors.keys()], read }
}

describe.each(cases)("PEFT's adapter %s", (name) => {
  const path = join(golden('peft'), name)
  const source = openModel(path) // finds its base beside it
  const shapes = modelShapes(source.folder.config)
  const want = expected(name)

  test('gives the same logits, and the base model is untouched without it', () => {
    const base = loadDecoder(source.folder, 'float32')
    const before = logits(base, want.tokens)
    const adapted = base.withAdapter(loadAdapter(source.adapter!, shapes, base.device))
    expect(maxDifference(logits(adapted, want.tokens), want.logits)).toBeLessThan(1e-4)
    expect(maxDifference(before, want.logits)).toBeGreaterThan(0.1)
    adapted.dispose()
    expect(logits(base, want.tokens)).toEqual(before)
    base.dispose()
  })

  test('merges to the same weights, and a merged model gives the same logits', () => {
    const stored = source.folder.dtype // that of the merged weights; PEFT's are float32
    const adapter = loadAdapter(source.adapter!, shapes)
    const { tensors, untied } = mergeAdapter(source.folder.tensors, adapter, shapes)
    for (const key of want.names.filter((key) => key.startsWith('merged/'))) {
      const got = scope(() => tensors.get(key.slice('merged/'.length))!.load().toArray())
      expect(relativeDifference(got, want.read(key)), key).toBeLessThan(stored === 'float32' ? 1e-6 : 2 ** -8)
    }
    const config = { ...source.folder.config, tiedHead: source.folder.config.tiedHead && !untied }
    const parameters = new Map([...tensors].map(([key, tensor]) => [key, scope(() => tensor.load().to('float32'))]))
    const merged = new Decoder(config, parameters)
    if (stored === 'float32') expect(maxDifference(logits(merged, want.tokens), want.logits)).toBeLessThan(1e-4)
    merged.dispose()
    disposeAdapter(adapter)
  })

  test('is stored as PEFT stores it', async () => {
    const adapter = loadAdapter(source.adapter!, shapes)
    const copy = join(folder, name)
    await saveAdapterFolder(copy, { adapter })
    disposeAdapter(adapter)
    const bytesOf = (path: string) => {
      const { tensors } = readSafetensors(join(path, 'adapter_model.safetensors'))
      return new Map([...tensors].sort().map(([key, entry]) => [key, scope(() => entry.load().toBytes())]))
    }
    expect(bytesOf(copy)).toEqual(bytesOf(path))
    const config = (path: string) => JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))
    expect(config(path)).toMatchObject(config(copy))
    expect(openAdapterFolder(copy).config).toEqual(source.adapter!.config)
  })
})

function maxDifference(got: Float32Array, want: Float32Array): number {
  expect(got.length).toBe(want.length)
  return want.reduce((most, value, i) => Math.max(most, Math.abs(value - got[i]!)), 0)
}

describe('an adapter that cannot be used says why', () => {
  const changed = (change: Record<string, unknown>) => {
    const copy = mkdtempSync(join(folder, 'changed-'))
    cpSync(join(golden('peft'), 'lora'), copy, { recursive: true })
    const file = join(copy, 'adapter_config.json')
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }))
    return copy
  }
  const base = openModelFolder(golden('models/llama3'))
  const load = (change: Record<string, unknown>) => () =>
    loadAdapter(openAdapterFolder(changed(change)), modelShapes(base.config))

  test.each([
    [{ peft_type: 'IA3' }, /peft_type is "IA3"; supported: LORA/],
    [{ init_lora_weights: 'pissa' }, /init_lora_weights is 'pissa', which changes the base weights/],
    [{ target_parameters: ['mlp.experts'] }, /target_parameters: not supported/],
    [{ target_modules: ['q_proj', 'value'] }, /target modules value: the model has none of that name; it has .*q_proj/],
    [{ target_modules: '(' }, /pattern '\(\?:\(\)\$' is no regular expression/],
    [{ r: 5 }, /q_proj.lora_A.weight is \[4, 32\], expected \[5, 32\]/],
    [{ target_modules: ['q_proj'] }, /v_proj.lora_A.weight is not known/],
    [{ use_dora: true }, /lora_magnitude_vector is missing/],
    [{ modules_to_save: ['score'] }, /modules to save score: the model has none of that name/],
    [{ target_modules: ['embed_tokens'], use_dora: true }, /DoRA on model.embed_tokens is not supported/],
  ])('%j', (change, message) => {
    expect(load(change)).toThrow(message)
  })

  test('a base model that is gone', () => {
    const path = changed({ base_model_name_or_path: './nowhere' })
    expect(() => openModel(path)).toThrow(/its base model: .*nowhere: no such folder.*--base/)
    expect(openModel(path, { base: golden('models/llama3') }).folder.path).toBe(golden('models/llama3'))
  })
})
