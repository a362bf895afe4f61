import { expect, it } from 'vitest'
import { parseModelConfig } from '../../src/model/config.ts'

const llama = {
  model_type: 'llama',
  vocab_size: 32000,
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
}

it('fills in what old configs leave out as transformers does', () => {
  expect(parseModelConfig({ ...llama, num_key_value_heads: null, rope_scaling: null }, 'config.json')).toMatchObject({
    keyValueHeads: 32,
    headSize: 128,
    norm: { kind: 'rms', epsilon: 1e-6, offset: 0 },
    tiedHead: false,
    ropes: [{ theta: 10000, size: 128, scaling: { type: 'default' } }],
  })
})

it.each([
  [
    'another architecture',
    { model_type: 'mamba' },
    'model_type is "mamba"; supported: gemma, gemma2, gemma3_text, gpt_neox, llama, mistral, olmo2, phi3, qwen2, qwen3, smollm3',
  ],
  [
    'a mixture of experts',
    { model_type: 'mixtral', num_local_experts: 8 },
    'model_type "mixtral" is a mixture of experts (num_local_experts: 8), which is not supported',
  ],
  ['a model that sees images', { model_type: 'gemma3' }, 'model_type is "gemma3"; supported: '],
  ['a missing field', { vocab_size: undefined }, 'vocab_size: '],
  ['another activation', { hidden_act: 'mish' }, "hidden_act is 'mish'; supported: silu"],
  [
    'heads that do not divide',
    { num_key_value_heads: 5 },
    'num_attention_heads (32) must be a multiple of num_key_value_heads (5)',
  ],
  [
    'an odd head size',
    { hidden_size: 4000 },
    'the head size must be even, but hidden_size / num_attention_heads is 125',
  ],
  ['unknown rope scaling', { rope_scaling: { type: 'ntk', factor: 4 } }, "rope scaling 'ntk' is not supported"],
  [
    'rope scaling in part',
    { rope_parameters: { rope_type: 'llama3', factor: 8 } },
    "rope scaling 'llama3' needs low_freq_factor",
  ],
])('refuses %s, naming file and field', (_, change, problem) => {
  expect(() => parseModelConfig({ ...llama, ...change }, 'm/config.json')).toThrow(`m/config.json: ${problem}`)
})
