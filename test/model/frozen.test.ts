import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseModelConfig } from '../../src/model/architectures/read.ts'
import { segmentAttention } from '../../src/model/attention.ts'
import { type Decoder, streamTensors } from '../../src/model/decoder.ts'
import { type ModelFolder, openModelFolder } from '../../src/model/folder.ts'
import { loadDecoder, loadSource } from '../../src/model/load.ts'
import { parameterShapes } from '../../src/model/parameters.ts'
import { emptyCachedMemory, memoryUse, resetPeakMemory } from '../../src/tensor/engine.ts'
import { op } from '../../src/tensor/operators.ts'
import { writeSafetensors } from '../../src/tensor/safetensors.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

let path: string
let folder: ModelFolder
/** Weights in matrices that are quantised, and all others. */
let sizes: { matrices: number; others: number }

beforeAll(() => {
  path = mkdtempSync(join(tmpdir(), 'prospect-frozen-'))
  mkdirSync(path, { recursive: true })
  const raw = {
    model_type: 'llama',
    vocab_size: 512,
    hidden_size: 512,
    intermediate_size: 1536,
    num_hidden_layers: 4,
    num_attention_heads: 8,
    tie_word_embeddings: true,
  }
  const shapes = parameterShapes(parseModelConfig(raw, 'test'))
  const tensors = [...shapes].map(
    ([name, shape]) =>
      [
        name,
        { dtype: 'bfloat16' as const, shape, load: () => op.normal(op.empty(shape, 'bfloat16'), 0, 0.05) },
      ] as const,
  )
  writeSafetensors(join(path, 'model.safetensors'), tensors, { format: 'pt' })
  writeFileSync(join(path, 'config.json'), JSON.stringify(raw))
  folder = openModelFolder(path)
  const count = (want: boolean) =>
    [...shapes].reduce(
      (sum, [name, shape]) => sum + (name.includes('_proj') === want ? shape.reduce((a, b) => a * b) : 0),
      0,
    )
  sizes = { matrices: count(true), others: count(false) }
})

afterAll(() => rmSync(path, { recursive: true, force: true }))

function logits(decoder: Decoder): Float32Array {
  return scope(() =>
    noGrad(() => {
      const weights = decoder.computeWeights('bfloat16')
      const tokens = Int32Array.from({ length: 8 }, (_, i) => i * 11)
      const positions = tokens.map((_, i) => i)
      const attention = segmentAttention([{ start: 0, length: 8, parent: -1 }])
      return decoder
        .logits(weights, decoder.hidden(weights, streamTensors({ tokens, positions }, decoder.device), attention))
        .toArray()
    }),
  )
}

/** Bytes that tensors take while what `load` gives is in memory. */
function bytesOf(load: () => Decoder, use: (decoder: Decoder) => void = () => {}): number {
  const before = memoryUse().live
  const decoder = load()
  const bytes = memoryUse().live - before
  use(decoder)
  decoder.dispose()
  return bytes
}

const source = () => ({ folder, adapter: null })

test('frozen weights in the type of their file take no memory of their own, and compute the same as a copy', () => {
  let frozen: Float32Array | undefined
  const take = (decoder: Decoder) => {
    frozen = logits(decoder)
  }
  expect(bytesOf(() => loadSource(source(), 'bfloat16'), take)).toBeLessThan(1e5)
  expect(
    bytesOf(
      () => loadDecoder(folder, 'bfloat16'),
      (copy) => expect(logits(copy)).toEqual(frozen),
    ),
  ).toBeGreaterThan(2 * sizes.matrices)
})

test('a base in 4 bits takes 4.13 bits a weight, one in 8 bits 8.13, and embeddings what they took', () => {
  for (const bits of [4, 8] as const) {
    const quantization = { bits, doubleQuantization: true }
    const bytes = bytesOf(() => loadSource(source(), 'bfloat16', { quantization }))
    const wanted = ((bits + 0.127) / 8) * sizes.matrices
    expect(bytes / wanted).toBeGreaterThan(0.96) // blocks below 64 KB are not counted
    expect(bytes / wanted).toBeLessThan(1.13) // the allocator rounds blocks up by at most an eighth
  }
})

test.skipIf(process.platform !== 'linux')('pages of a file that were converted leave memory', () => {
  const filePages = () => Number(/RssFile:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024
  const fresh = { folder: openModelFolder(path), adapter: null }
  const before = filePages()
  const decoder = loadSource(fresh, 'float32')
  const grown = filePages() - before
  decoder.dispose()
  expect(grown).toBeLessThan(0.2 * folder.tensors.get('model.layers.0.mlp.up_proj.weight')!.bytes * 12)
})

test('log-probabilities with a frozen head compute no gradient of it, and the same gradient of the states', () => {
  const [rows, width, vocabulary] = [64, 256, 20_000]
  const run = (frozen: boolean) =>
    scope(() => {
      const head = op.full([vocabulary, width], 0.01, 'float32').withGrad(!frozen)
      const states = Tensor.from(
        Float32Array.from({ length: rows * width }, (_, i) => Math.sin(i)),
        [rows, width],
      )
      const targets = Tensor.from(new Int32Array(rows), [rows], 'int64')
      const logps = op.tokenLogps(states.withGrad(), head, targets, 16)
      emptyCachedMemory()
      resetPeakMemory()
      const before = memoryUse().live
      logps.sum().backward()
      return { gradient: states.grad!.toArray(), peak: memoryUse().peak - before, head: head.grad }
    })
  const trained = run(false)
  const frozen = run(true)
  expect(frozen.head).toBeNull()
  expect(frozen.gradient).toEqual(trained.gradient)
  expect(trained.peak).toBeGreaterThan(4 * vocabulary * width)
  expect(frozen.peak).toBeLessThan(0.5 * 4 * vocabulary * width)
})
