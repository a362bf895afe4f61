import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseModelConfig } from '../../src/model/config.ts'
import type { Parameters } from '../../src/model/decoder.ts'
import { type ModelContents, openModelFolder, saveModelFolder } from '../../src/model/folder.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { initialParameters } from '../../src/model/parameters.ts'
import { weightsHash } from '../../src/model/weights-hash.ts'
import { readSafetensors, writeSafetensors } from '../../src/tensor/safetensors.ts'
import { liveTensors, scope } from '../../src/tensor/scope.ts'
import { type Dtype, Tensor } from '../../src/tensor/tensor.ts'

const rawConfig = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 24,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  a_field_of_tomorrow: [1, null],
}

let scratch: string
let model: string
let parameters: Parameters
let live: number

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'prospect-folder-'))
  model = join(scratch, 'model')
  live = liveTensors()
  parameters = initialParameters(parseModelConfig(rawConfig, 'config.json'), 1)
})
afterEach(() => {
  for (const tensor of parameters.values()) tensor.dispose()
  rmSync(scratch, { recursive: true, force: true })
  expect(liveTensors()).toBe(live)
})

const save = (contents: Partial<ModelContents> = {}, path = model) =>
  saveModelFolder(path, {
    source: { path: scratch, rawConfig, companions: [] },
    parameters,
    dtype: 'float32',
    ...contents,
  })

const readJson = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'))

/** The bits of every weight as a decoder loads them. */
function loadedBits(path: string, dtype: Dtype): Map<string, Uint8Array> {
  const decoder = loadDecoder(path, dtype)
  const bits = bitsOf(decoder.parameters)
  decoder.dispose()
  return bits
}

const bitsOf = (tensors: Parameters) => new Map([...tensors].map(([name, tensor]) => [name, tensor.toBytes()]))

describe('a model that is saved and loaded', () => {
  it('is the same bit for bit', async () => {
    await save()
    expect(readdirSync(model).sort()).toEqual(['config.json', 'model.safetensors'])
    expect(loadedBits(model, 'float32')).toEqual(bitsOf(parameters))
  })

  it('is the same in shards, named and indexed as on the hub', async () => {
    await save({ maxShardBytes: 1000 })
    const { weight_map, metadata } = readJson(model, 'model.safetensors.index.json')
    const shards = readdirSync(model).filter((name) => name.endsWith('.safetensors'))
    expect(shards.length).toBeGreaterThan(2)
    expect(shards[0]).toBe(`model-00001-of-0000${shards.length}.safetensors`)
    expect(new Set(Object.values(weight_map))).toEqual(new Set(shards))
    expect(Object.keys(weight_map).sort()).toEqual([...parameters.keys()].sort())
    expect(metadata.total_size).toBe([...parameters.values()].reduce((sum, tensor) => sum + 4 * tensor.size, 0))
    expect(loadedBits(model, 'float32')).toEqual(bitsOf(parameters))
  })

  it('is stored rounded to bfloat16, and says so in config.json', async () => {
    await save({ dtype: 'bfloat16' })
    const rounded = scope(() => bitsOf(new Map([...parameters].map(([name, tensor]) => [name, tensor.to('bfloat16')]))))
    expect(loadedBits(model, 'bfloat16')).toEqual(rounded)
    expect(openModelFolder(model).dtype).toBe('bfloat16')
    expect(readJson(model, 'config.json')).toEqual({ ...rawConfig, torch_dtype: 'bfloat16' })
  })

  it("keeps transformers 5's name of the dtype", async () => {
    const source = { path: scratch, rawConfig: { ...rawConfig, dtype: 'float32' }, companions: [] }
    await save({ source, dtype: 'bfloat16' })
    expect(readJson(model, 'config.json')).toEqual({ ...rawConfig, dtype: 'bfloat16' })
  })

  it('can be saved over the folder that it was opened from', async () => {
    await save()
    writeFileSync(join(model, 'tokenizer.json'), '{"kept": true}')
    const source = openModelFolder(model)
    const decoder = loadDecoder(source, 'float32')
    await saveModelFolder(model, { source, parameters: decoder.parameters, dtype: 'float32' })
    decoder.dispose()
    expect(readJson(model, 'tokenizer.json')).toEqual({ kept: true })
    expect(loadedBits(model, 'float32')).toEqual(bitsOf(parameters))
  })

  it('has memory of its own: the files may change under it', async () => {
    await save()
    const decoder = loadDecoder(model, 'float32')
    const file = join(model, 'model.safetensors')
    writeFileSync(file, Buffer.alloc(statSync(file).size))
    expect(bitsOf(decoder.parameters)).toEqual(bitsOf(parameters))
    decoder.dispose()
  })

  it('takes along the tokenizer and its like, even through links, but no foreign files', async () => {
    await save()
    const companions = [
      'tokenizer.json',
      'tokenizer_config.json',
      'tokenizer.model',
      'chat_template.jinja',
      'generation_config.json',
      'merges.txt',
      'LICENSE',
    ]
    for (const name of companions) writeFileSync(join(model, name), Uint8Array.of(0xff, 0, name.length))
    for (const name of ['README.md', 'training_args.bin', 'notes.txt']) writeFileSync(join(model, name), '')
    mkdirSync(join(model, 'tokenizer_backup'))
    writeFileSync(join(model, 'tokenizer_backup/blob'), 'from the cache') // the hub's cache is made of links
    symlinkSync('tokenizer_backup/blob', join(model, 'vocab.json'))
    mkdirSync(join(model, 'additional_chat_templates'))
    writeFileSync(join(model, 'additional_chat_templates/tool_use.jinja'), 'tools')
    const copy = join(scratch, 'copy')
    await save({ source: openModelFolder(model), card: '# Card' }, copy)
    rmSync(join(model, 'tokenizer_backup/blob'))
    expect(readdirSync(copy).sort()).toEqual(
      [
        ...[...companions, 'vocab.json', 'README.md', 'config.json', 'model.safetensors'],
        'additional_chat_templates',
      ].sort(),
    )
    expect(readFileSync(join(copy, 'additional_chat_templates/tool_use.jinja'), 'utf8')).toBe('tools')
    expect(readFileSync(join(copy, 'vocab.json'), 'utf8')).toBe('from the cache')
    expect(readFileSync(join(copy, 'README.md'), 'utf8')).toBe('# Card')
    expect(readFileSync(join(copy, 'tokenizer.model'))).toEqual(Buffer.of(0xff, 0, 'tokenizer.model'.length))
  })

  it('has no head of its own where the head is the embedding; a stored copy is passed over', async () => {
    const tied = { ...rawConfig, tie_word_embeddings: true }
    const withoutHead = new Map([...parameters].filter(([name]) => name !== 'lm_head.weight'))
    const source = { path: scratch, rawConfig: tied, companions: [] }
    await save({ source }) // parameters with a head, as some checkpoints have them
    expect(loadedBits(model, 'float32')).toEqual(bitsOf(withoutHead))
  })
})

describe('a model of another spelling', () => {
  const pythia = join(import.meta.dirname, '../golden/architectures/gpt-neox')
  const headOf = (path: string) =>
    [...readSafetensors(join(path, 'model.safetensors')).tensors.keys()].filter((name) =>
      /^(embed_out|lm_head)/.test(name),
    )

  it('has the names known here while it is used, and its own when it is saved', async () => {
    const copy = join(scratch, 'copy')
    const renamed = Array.from(
      readSafetensors(join(pythia, 'model.safetensors')).tensors,
      ([name, entry]) => [name.replace('embed_out', 'lm_head'), entry] as const,
    )
    mkdirSync(copy)
    copyFileSync(join(pythia, 'config.json'), join(copy, 'config.json'))
    writeSafetensors(join(copy, 'model.safetensors'), renamed, { format: 'pt' })
    const source = openModelFolder(copy)
    const decoder = loadDecoder(source, 'float32')
    expect(decoder.parameters.has('embed_out.weight')).toBe(true)
    expect(loadedBits(copy, 'float32')).toEqual(loadedBits(pythia, 'float32'))
    await saveModelFolder(model, { source, parameters: decoder.parameters, dtype: source.dtype })
    decoder.dispose()
    expect(headOf(model)).toEqual(['lm_head.weight'])
  })

  it('passes over the tables that old checkpoints store', async () => {
    const copy = join(scratch, 'copy')
    mkdirSync(copy)
    copyFileSync(join(pythia, 'config.json'), join(copy, 'config.json'))
    scope(() => {
      const stored = readSafetensors(join(pythia, 'model.safetensors')).tensors
      const attention = 'gpt_neox.layers.0.attention.'
      const tables: [string, Tensor][] = [
        [`${attention}bias`, Tensor.from([1, 0], [1, 1, 1, 2], 'bool')],
        [`${attention}masked_bias`, Tensor.from([-1e9], [])],
        [`${attention}rotary_emb.inv_freq`, Tensor.from([1, 2])],
      ]
      writeSafetensors(join(copy, 'model.safetensors'), [...stored, ...tables], { format: 'pt' })
    })
    expect(loadedBits(copy, 'float32')).toEqual(loadedBits(pythia, 'float32'))
  })
})

it('each tensor keeps its type where the main one is kept', async () => {
  scope(() => {
    const mixed = Array.from(parameters, ([name, tensor]): [string, Tensor] => [
      name,
      tensor.to(name.includes('norm') ? 'float32' : 'bfloat16'),
    ])
    mkdirSync(model)
    writeFileSync(join(model, 'config.json'), JSON.stringify(rawConfig))
    writeSafetensors(join(model, 'model.safetensors'), mixed, { format: 'pt' })
  })
  const source = openModelFolder(model)
  expect(source.dtype).toBe('bfloat16')
  const typesOf = (path: string) =>
    new Map(Array.from(openModelFolder(path).tensors, ([name, { dtype }]) => [name, dtype]))
  for (const [dtype, expected] of [
    ['bfloat16', typesOf(model)],
    ['float32', new Map([...parameters.keys()].map((name) => [name, 'float32']))],
  ] as const) {
    const copy = join(scratch, dtype)
    await save({ source, dtype }, copy)
    expect(typesOf(copy)).toEqual(expected)
  }
})

it('many weights that do not fit are counted', async () => {
  await save({ source: { path: scratch, rawConfig: { ...rawConfig, num_hidden_layers: 5 }, companions: [] } })
  expect(() => loadDecoder(model, 'float32')).toThrow(
    /model\.layers\.2\.input_layernorm\.weight is missing; .*; and 19 more$/,
  )
})

it('loading says how far it is', async () => {
  await save()
  const heard: string[] = []
  const piece = { update: (done: number) => void heard.push(`at ${done}`), stop: () => void heard.push('stop') }
  const progress = {
    start(total: number, label: string) {
      heard.push(`${label} ${total}`)
      return piece
    },
  }
  loadDecoder(model, 'float32', { progress }).dispose()
  expect([heard[0], heard.at(-2), heard.at(-1)]).toEqual(['weights (MB) 1', 'at 1', 'stop'])
})

describe('a folder that cannot be opened is refused, saying what to do:', () => {
  it('no such folder', () => {
    expect(() => openModelFolder('/no/such/folder')).toThrow(/^\/no\/such\/folder: no such folder$/)
  })

  it('the name of a model on the hub', () => {
    expect(() => openModelFolder('HuggingFaceTB/SmolLM2-135M')).toThrow(
      'prospect train --model HuggingFaceTB/SmolLM2-135M',
    )
  })

  it('a file', async () => {
    await save()
    expect(() => openModelFolder(join(model, 'config.json'))).toThrow(/a file; give the folder that it is in/)
  })

  it('no config.json, or one that is not JSON', async () => {
    await save()
    writeFileSync(join(model, 'config.json'), '{"model_type": ')
    expect(() => openModelFolder(model)).toThrow(/model\/config\.json: .*JSON/)
    rmSync(join(model, 'config.json'))
    expect(() => openModelFolder(model)).toThrow(/it has no config\.json/)
  })

  it('quantized weights', async () => {
    await save({
      source: { path: scratch, rawConfig: { ...rawConfig, quantization_config: { bits: 4 } }, companions: [] },
    })
    expect(() => openModelFolder(model)).toThrow(/config\.json: the weights are quantized/)
  })

  it('no weights', async () => {
    await save()
    rmSync(join(model, 'model.safetensors'))
    expect(() => openModelFolder(model)).toThrow(/no weights: neither model\.safetensors nor/)
  })

  it.each(['pytorch_model.bin', 'consolidated.00.pth'])('pickled weights only (%s)', async (name) => {
    await save()
    rmSync(join(model, 'model.safetensors'))
    writeFileSync(join(model, name), '')
    expect(() => openModelFolder(model)).toThrow(
      new RegExp(
        `pickle files \\(${name}\\), which can run any code.*save_pretrained\\('${model}', safe_serialization=True\\)`,
      ),
    )
  })

  it('a missing shard', async () => {
    await save({ maxShardBytes: 1000 })
    const shard = readdirSync(model).find((name) => name.startsWith('model-00002'))!
    rmSync(join(model, shard))
    expect(() => openModelFolder(model)).toThrow(`model.safetensors.index.json names ${shard}, missing here`)
  })

  it('a shard that lacks a tensor', async () => {
    await save({ maxShardBytes: 1000 })
    const [first, second] = readdirSync(model).filter((name) => name.endsWith('.safetensors'))
    copyFileSync(join(model, first!), join(model, second!))
    expect(() => openModelFolder(model)).toThrow(
      new RegExp(`${second}: .* is missing, but .*index\\.json places it there`),
    )
  })

  it('an index without a map', async () => {
    await save({ maxShardBytes: 1000 })
    writeFileSync(join(model, 'model.safetensors.index.json'), '{"weight_map": {"a": 1}}')
    expect(() => openModelFolder(model)).toThrow(/index\.json: weight_map must give the file of each tensor/)
  })
})

it('weights that do not fit config.json are all named', async () => {
  await save()
  scope(() => {
    const tensors = new Map(parameters)
    tensors.delete('model.norm.weight')
    tensors.set('lm_head.weight', Tensor.from(new Float32Array(6), [2, 3]))
    tensors.set('model.extra', Tensor.from([1]))
    tensors.set('model.layers.0.self_attn.rotary_emb.inv_freq', Tensor.from([1])) // old checkpoints have it
    writeSafetensors(join(model, 'model.safetensors'), tensors)
  })
  expect(() => loadDecoder(model, 'float32')).toThrow(
    `${model}: the weights do not fit config.json: model.norm.weight is missing; lm_head.weight is [2, 3], expected [24, 8]; ` +
      'model.extra is not known',
  )
})

it('the hash tells models apart by weights and by configuration', async () => {
  const hashOf = async (contents: Partial<ModelContents>) => {
    await save(contents)
    return weightsHash(openModelFolder(model))
  }
  const first = await hashOf({})
  expect(await hashOf({})).toBe(first)
  const source = { path: scratch, rawConfig: { ...rawConfig, rms_norm_eps: 1e-5 }, companions: [] }
  expect(await hashOf({ source })).not.toBe(first)
  const other = initialParameters(parseModelConfig(rawConfig, 'config.json'), 2)
  expect(await hashOf({ parameters: other })).not.toBe(first)
  for (const tensor of other.values()) tensor.dispose()
})
