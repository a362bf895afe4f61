// What bench/memory measures, and the random models it does it with.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseModelConfig } from '../../dist/model/architectures/read.js'
import { parameterShapes } from '../../dist/model/parameters.js'
import { op } from '../../dist/tensor/operators.js'
import { writeSafetensors } from '../../dist/tensor/safetensors.js'
import { shapes } from '../kto/shapes.mjs'

const rows = { batch: 8, tokens: 256 }
const lora = { adapter: { type: 'lora', rank: 16 }, gradientCheckpointing: true, ...rows }

/** Batches of `batch` rows of `tokens` tokens, a third of them prompt; limits in GB. */
export const cases = {
  'lora-bf16': { model: '1.1b', title: '1.1B, LoRA on bfloat16, 8 x 256 tokens, checkpointing', limit: 4.5, ...lora },
  'lora-8bit': { model: '1.1b', title: 'the same on 8 bits', limit: 3.5, ...lora, loadIn: '8bit' },
  'lora-nf4': { model: '1.1b', title: 'the same on NF4', limit: 2.5, ...lora, loadIn: '4bit' },
  'dora-bf16': {
    model: '1.1b',
    title: '1.1B, DoRA on bfloat16, 8 x 256 tokens, checkpointing',
    limit: 4.5,
    ...lora,
    adapter: { type: 'dora', rank: 16 },
  },
  'full-135m': {
    model: '135m',
    title: '135M, all weights, 32 x 512 tokens in one pass, checkpointing',
    limit: 6,
    adapter: {},
    gradientCheckpointing: true,
    batch: 32,
    tokens: 512,
    microBatchTokens: 32 * 512,
  },
  'full-135m-plain': {
    model: '135m',
    title: '135M, all weights, 32 x 512 tokens in passes of 2048, no checkpointing',
    limit: 8,
    adapter: {},
    batch: 32,
    tokens: 512,
  },
}

/** A random Llama in bfloat16, written a tensor at a time. */
export function writeRandomModel(folder, name) {
  mkdirSync(folder, { recursive: true })
  const raw = shapes[name]
  const tensors = [...parameterShapes(parseModelConfig(raw, name))].map(([key, shape]) => {
    const deviation = shape.length === 1 ? 0 : 0.02
    const mean = shape.length === 1 ? 1 : 0
    return [key, { dtype: 'bfloat16', shape, load: () => op.normal(op.empty(shape, 'bfloat16'), mean, deviation) }]
  })
  writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' })
  writeFileSync(join(folder, 'config.json'), JSON.stringify(raw))
}
