import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { defaultAdapterConfig } from '../../src/model/adapters/config.ts'
import { parseModelConfig } from '../../src/model/config.ts'
import { checkpointingFor, largestPass, planMemory } from '../../src/train/memory-plan.ts'
import { train } from '../../src/train/train.ts'
import { writeTinyModel } from '../tiny-model.ts'

const llama = (fields: Record<string, unknown>) => parseModelConfig({ model_type: 'llama', ...fields }, 'test')
const small = llama({
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: 49152,
  tie_word_embeddings: true,
})
const large = llama({
  hidden_size: 2048,
  intermediate_size: 5632,
  num_hidden_layers: 22,
  num_attention_heads: 32,
  num_key_value_heads: 4,
  vocab_size: 32000,
})
const lora = { ...defaultAdapterConfig, rank: 16 }
const half = llama({
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  num_key_value_heads: 2,
  vocab_size: 151936,
  tie_word_embeddings: true,
})
const shared = { compute: 'bfloat16', referenceCopy: false, onePass: false } as const

describe('the plan of memory', () => {
  // docs/memory.md: peaks that bench/memory measured, GB.
  test.each([
    [
      '135M, all weights, 16,384 tokens in one pass',
      4.19,
      { config: small, adapter: null, tokens: 16384, onePass: true },
    ],
    ['1.1B, LoRA, 2,048 tokens a pass', 3.49, { config: large, adapter: lora, tokens: 2048 }],
    ['1.1B, LoRA on NF4', 2.06, { config: large, adapter: lora, loadIn: '4bit' as const, tokens: 2048 }],
  ])('with checkpointing is within a fifth of what was measured: %s', (_, measured, run) => {
    const planned = planMemory({ ...shared, ...run }).checkpointed / 1e9
    expect(planned / measured).toBeGreaterThan(0.8)
    expect(planned / measured).toBeLessThan(1.2)
  })

  test.each([
    ['135M, all weights, 2,048 tokens a pass', 3.82, { config: small, tokens: 2048 }],
    ['0.5B, all weights, 2,750 tokens in one pass', 9.5, { config: half, tokens: 2750, onePass: true }],
  ])('without checkpointing too: %s', (_, measured, run) => {
    const planned = planMemory({ ...shared, adapter: null, ...run }).plain / 1e9
    expect(planned / measured).toBeGreaterThan(0.8)
    expect(planned / measured).toBeLessThan(1.2)
  })

  test('moments in 8 bits take 6 bytes less of each weight but the embedding', () => {
    const of = (optimizer: 'adamw' | 'adamw_8bit') =>
      planMemory({ ...shared, config: large, adapter: null, tokens: 2048, optimizer }).plain
    const weights = 1.1e9 - 32000 * 2048
    expect((of('adamw') - of('adamw_8bit')) / (6 * weights)).toBeCloseTo(1, 1)
  })

  test('is of the longest rows that one pass may have', () => {
    const row = (prompt: number, completion: number) =>
      ({ prompt: new Int32Array(prompt), completion: new Int32Array(completion) }) as never
    const rows = [row(10, 5), row(100, 50), row(20, 10)]
    expect(largestPass(rows, 2, 1000)).toEqual({ tokens: 180, onePass: true })
    expect(largestPass(rows, 8, 1000)).toEqual({ tokens: 195, onePass: true })
    expect(largestPass(rows, 8, 160)).toEqual({ tokens: 160, onePass: false })
    expect(largestPass(rows, 8, 50)).toEqual({ tokens: 150, onePass: false }) // a longer row goes alone
  })

  test('checkpointing is chosen where memory would not do without, and what would still not fit is said', () => {
    const plan = { plain: 10e9, checkpointed: 4e9 }
    expect(checkpointingFor(plan, 16e9)).toMatchObject({ on: false })
    expect(checkpointingFor(plan, 11e9)).toMatchObject({
      on: true,
      says: expect.stringContaining('about 10.0 GB without it'),
    })
    expect(checkpointingFor(plan, 11e9).says).not.toContain('either')
    expect(checkpointingFor(plan, 4.5e9).says).toContain(
      'about 4.0 GB, which may not fit either: lower --micro-batch-tokens',
    )
  })
})

describe('a run', () => {
  const folder = mkdtempSync(join(tmpdir(), 'memory-plan-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  afterEach(() => {
    delete process.env.PROSPECT_MEMORY_GB
  })
  writeTinyModel(join(folder, 'model'))
  const rows = Array.from({ length: 8 }, (_, i) => ({
    prompt: `Q${i}`,
    completion: 'yes '.repeat(i + 1),
    label: i % 2 === 0,
  }))
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))

  async function settledBy(output: string, gigabytes: string, options = {}): Promise<string> {
    process.env.PROSPECT_MEMORY_GB = gigabytes
    const shared = { evaluation: { split: 0 }, samples: { prompts: 0 }, cache: join(folder, 'cache'), maxSteps: 2 }
    const model = join(folder, 'model')
    const data = join(folder, 'rows.jsonl')
    await (await train({ model, data, output: join(folder, output), ...shared, ...options })).finished
    return /gradientCheckpointing: (.*)/.exec(readFileSync(join(folder, output, 'config.yaml'), 'utf8'))![1]!
  }

  test('chooses by the memory that is available, and keeps what it chose for when it is resumed', async () => {
    expect(await settledBy('roomy', '1000')).toBe('false')
    expect(await settledBy('tight', '0.001')).toBe('true')
    expect(await settledBy('asked', '0.001', { gradientCheckpointing: false })).toBe('false')
  })
})
