import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { loadTokenizer } from '../../src/data/tokenizer.ts'
import { ggufTensor, toHalf } from '../../src/export/elements.ts'
import { type GgufTensor, type StoredType, storedBytes, type Value, writeGguf } from '../../src/export/gguf-file.ts'
import { ggufArchitecture, ggufNotes, modelMetadata, modelTensors } from '../../src/export/gguf-model.ts'
import { tokenizerMetadata } from '../../src/export/gguf-tokenizer.ts'
import { parseModelConfig } from '../../src/model/architectures/read.ts'
import { parameterShapes } from '../../src/model/parameters.ts'
import type { LazyTensor } from '../../src/tensor/safetensors.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { readGguf } from './read-gguf.ts'

// What llama.cpp's own converter makes of the same configurations, weights and tokenizers; test/golden/make_gguf.py wrote it.
interface Golden {
  models: Record<string, GoldenModel>
  tokenizers: Record<string, { rows: number; metadata: Record<string, unknown> }>
}
interface GoldenModel {
  config: Record<string, unknown>
  metadata: Record<string, unknown>
  types: Record<StoredType, Record<string, [type: string, shape: number[], digest: string | number[]]>>
}

const here = import.meta.dirname
const golden = JSON.parse(gunzipSync(readFileSync(join(here, '../golden/gguf.json.gz'))).toString()) as Golden
const scratch = mkdtempSync(join(tmpdir(), 'prospect-gguf-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** The weights of make_gguf.py: a formula of name and place. */
function weights(name: string, shape: readonly number[]): Tensor {
  const seed = Buffer.from(name).reduce((sum, byte) => sum + byte, 0)
  const count = shape.reduce((product, size) => product * size, 1)
  const value = (i: number) => (((i * 7919 + seed * 104729) % 100003) - 50001) / 65536
  return Tensor.from(
    Float32Array.from({ length: count }, (_, i) => value(i)),
    shape,
  )
}

function storedWeights(config: ReturnType<typeof parseModelConfig>): Map<string, LazyTensor> {
  return new Map(
    Array.from(parameterShapes(config), ([name, shape]) => [
      name,
      { dtype: 'float32', shape, load: () => weights(name, shape) },
    ]),
  )
}

/** A digest of a tensor's bytes; of computed rope factors, whose last bit may differ, the numbers. */
function content(tensor: GgufTensor): string | unknown[] {
  const bytes = Buffer.concat([...tensor.bytes()])
  if (!tensor.name.startsWith('rope_')) return createHash('sha256').update(bytes).digest('hex').slice(0, 16)
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
  return [...values].map((value) => expect.closeTo(value, 5))
}

const plain = (metadata: ReadonlyMap<string, Value>) =>
  Object.fromEntries(
    Array.from(metadata, ([key, { type, value }]) => [key, type === 'f32' ? Math.fround(value as number) : value]),
  )

describe.each(Object.entries(golden.models))(
  "%s, as llama.cpp's converter has it",
  (_, { config: raw, metadata, types }) => {
    const config = parseModelConfig(raw, 'config.json')

    test('hyperparameters', () => {
      const ours = plain(modelMetadata(config))
      // The converter writes this one for every Phi-3; without a scaling nothing reads it.
      if (!raw.rope_scaling) delete metadata['phi3.rope.scaling.original_context_length']
      expect(ours).toMatchObject(metadata)
      const name = ggufArchitecture(config)
      const more = Object.keys(ours).filter((key) => !(key in metadata) && key !== 'general.architecture')
      const defaults = [
        'vocab_size',
        'attention.head_count_kv',
        'attention.key_length',
        'attention.value_length',
        'rope.dimension_count',
        'rope.freq_base',
        'rope.scaling.type',
      ]
      expect(defaults.map((key) => `${name}.${key}`)).toEqual(expect.arrayContaining(more)) // said, though llama.cpp would guess them
    })

    test.each(Object.keys(types) as StoredType[])('tensors as %s: names, shapes and every byte', (type) => {
      const tensors = modelTensors(config, storedWeights(config), type)
      const ours = Object.fromEntries(
        tensors.map((tensor) => [tensor.name, [tensor.type, [...tensor.shape], content(tensor)]]),
      )
      expect(types[type]).toEqual(ours)
    })
  },
)

describe.each(Object.entries(golden.tokenizers))(
  "the tokenizer %s, as llama.cpp's converter has it",
  (name, { rows, metadata }) => {
    const folder = join(here, '../golden/tokenizers', name)
    const tokenizer = loadTokenizer(folder)
    const ours = plain(tokenizerMetadata(folder, tokenizer, rows).metadata)
    const theirs = metadata as Record<string, unknown[]>
    const key = (last: string) => `tokenizer.ggml.${last}`

    test('tokens, kinds, merges and special tokens', () => {
      const count = theirs[key('tokens')]!.length // it leaves out rows without a token in some
      expect((ours[key('tokens')] as string[]).slice(0, count)).toEqual(theirs[key('tokens')])
      // The converter, which has no SentencePiece model here, takes <unk> for a control token (SentencePiece's own: 2), and of Mistral's special
      // tokens, [INST] among them, only those that have a name (BOS, EOS) for control tokens.
      const known = (kinds: unknown[]) =>
        kinds.map((kind, id) => (kind === 2 || (name === 'mistral' && id < 8) ? 3 : kind))
      expect(known((ours[key('token_type')] as number[]).slice(0, count))).toEqual(known(theirs[key('token_type')]!))
      for (const last of ['merges', 'model', 'pre', 'eos_token_id']) expect(ours[key(last)]).toEqual(theirs[key(last)])
      if (key('add_bos_token') in theirs) expect(ours[key('add_bos_token')]).toBe(theirs[key('add_bos_token')])
      if (tokenizer.bos !== null) expect(ours[key('bos_token_id')]).toBe(theirs[key('bos_token_id')])
      expect(ours['tokenizer.chat_template'] ?? null).toBe(theirs['tokenizer.chat_template'] ?? null)
    })
  },
)

describe('the file', () => {
  test('has metadata and tensors where its header says, aligned', () => {
    const metadata = new Map<string, Value>([
      ['a.string', { type: 'string', value: 'Größe 👍' }],
      ['a.number', { type: 'u32', value: 4_000_000_000 }],
      ['a.negative', { type: 'i32', value: -5 }],
      ['a.float', { type: 'f32', value: 0.1 }],
      ['a.flag', { type: 'bool', value: true }],
      ['some.strings', { type: 'strings', value: ['', 'x', 'ü'] }],
      ['some.floats', { type: 'f32s', value: [1.5, -2] }],
      ['some.numbers', { type: 'i32s', value: Array.from({ length: 20_000 }, (_, i) => i - 5) }],
    ])
    const source = (name: string, shape: number[]): LazyTensor => ({
      dtype: 'float32',
      shape,
      load: () => weights(name, shape),
    })
    const tensors = [
      ggufTensor('matrix', source('matrix', [3, 5]), 'f16'),
      ggufTensor('vector', source('vector', [7]), 'f16'),
      ggufTensor('blocks', source('blocks', [2, 64]), 'q8_0'),
    ]
    const path = join(scratch, 'file.gguf')
    writeGguf(path, metadata, tensors)
    const file = readGguf(readFileSync(path))
    expect(file.metadata).toEqual({ ...plain(metadata) })
    expect(file.tensors.map(({ name, shape, type }) => [name, shape, type])).toEqual([
      ['matrix', [5, 3], 1],
      ['vector', [7], 0],
      ['blocks', [64, 2], 8],
    ])
    for (const [i, tensor] of tensors.entries()) {
      const { at } = file.tensors[i]!
      expect(at % 32).toBe(0)
      const expected = Buffer.concat([...tensor.bytes()])
      expect(readFileSync(path).subarray(at, at + storedBytes(tensor))).toEqual(expected)
    }
  })

  test('is not there where a tensor cannot be written', () => {
    const path = join(scratch, 'broken.gguf')
    const load = () => {
      throw new Error('the disk is gone')
    }
    const tensor = ggufTensor('t', { dtype: 'float32', shape: [2], load }, 'f32')
    expect(() => writeGguf(path, new Map(), [tensor])).toThrow('the disk is gone')
    expect(() => readFileSync(path)).toThrow('ENOENT')
  })
})

test('float16 is rounded as libtorch rounds, infinities and the smallest numbers too', () => {
  fc.assert(
    fc.property(fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 50 }), (values) => {
      const bits = scope(() => Tensor.from(Float32Array.from(values)).to('float16').toBytes())
      expect(values.map(toHalf)).toEqual([...new Uint16Array(bits.buffer, bits.byteOffset, values.length)])
    }),
    {
      examples: [
        [[65519, 65520, 65536, 2 ** -24, 2 ** -25, 3 * 2 ** -26, -0, 2 ** -14, 1 + 2 ** -11, 1 + 3 * 2 ** -11]],
      ],
    },
  )
})

describe('a model that llama.cpp would compute differently', () => {
  const base = golden.models.gemma2!.config
  const of = (config: Record<string, unknown>) => parseModelConfig(config, 'config.json')

  test.each([
    [{ ...base, query_pre_attn_scalar: 100 }, /scales queries by head size/],
    [{ ...base, layer_types: ['full_attention', 'sliding_attention'] }, /has its windows in other layers/],
    [{ ...golden.models.llama!.config, hidden_act: 'gelu' }, /llama has the activation silu, not gelu/],
  ])('is refused (%#)', (config, message) => {
    expect(() => ggufArchitecture(of(config))).toThrow(message)
  })

  test('only past some length is written, and the length said', () => {
    const mistral = { ...golden.models.mistral!.config, sliding_window: 64 }
    expect(ggufNotes(of(mistral))).toEqual([expect.stringContaining('up to 64 tokens it computes the same')])
    expect(ggufNotes(of(golden.models.mistral!.config))).toEqual([])
  })
})
