import { describe, expect, it } from 'vitest'
import type { ModelConfig } from '../../src/model/config.ts'
import { parseModelConfig } from '../../src/model/config.ts'
import { ropeAmplitude, ropeFrequencies } from '../../src/model/frequencies.ts'
import { parameterShapes } from '../../src/model/parameters.ts'

// The fields that publishers' config.json give (transformers 4's spelling, with what it leaves out left out), and the published numbers of parameters.
const llama = { model_type: 'llama', hidden_act: 'silu', rms_norm_eps: 1e-5, attention_bias: false, mlp_bias: false }
const mistral7b = {
  model_type: 'mistral',
  hidden_act: 'silu',
  hidden_size: 4096,
  intermediate_size: 14336,
  max_position_embeddings: 32768,
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-5,
  rope_theta: 10000.0,
  sliding_window: 4096,
  tie_word_embeddings: false,
  vocab_size: 32000,
}
const phi3mini = {
  model_type: 'phi3',
  attention_bias: false,
  hidden_act: 'silu',
  hidden_size: 3072,
  intermediate_size: 8192,
  max_position_embeddings: 4096,
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 32,
  original_max_position_embeddings: 4096,
  pad_token_id: 32000,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  rope_theta: 10000.0,
  sliding_window: 2047,
  tie_word_embeddings: false,
  vocab_size: 32064,
}
const factors = (first: number) => Array.from({ length: 48 }, (_, i) => first + i / 2)

const models: Record<string, { config: object; parameters: number; facts: object }> = {
  'meta-llama/Llama-3.2-1B': {
    config: {
      ...llama,
      head_dim: 64,
      hidden_size: 2048,
      intermediate_size: 8192,
      max_position_embeddings: 131072,
      num_attention_heads: 32,
      num_hidden_layers: 16,
      num_key_value_heads: 8,
      pretraining_tp: 1,
      rope_scaling: {
        factor: 32.0,
        high_freq_factor: 4.0,
        low_freq_factor: 1.0,
        original_max_position_embeddings: 8192,
        rope_type: 'llama3',
      },
      rope_theta: 500000.0,
      tie_word_embeddings: true,
      vocab_size: 128256,
    },
    parameters: 1_235_814_400,
    facts: {
      headSize: 64,
      ropes: [
        {
          theta: 500000,
          size: 64,
          scaling: {
            type: 'llama3',
            factor: 32,
            lowFrequencyFactor: 1,
            highFrequencyFactor: 4,
            originalMaxPositions: 8192,
          },
        },
      ],
    },
  },
  'HuggingFaceTB/SmolLM2-135M': {
    config: {
      ...llama,
      hidden_size: 576,
      intermediate_size: 1536,
      is_llama_config: true,
      max_position_embeddings: 8192,
      num_attention_heads: 9,
      num_hidden_layers: 30,
      num_key_value_heads: 3,
      rope_interleaved: false,
      rope_scaling: null,
      rope_theta: 100000,
      tie_word_embeddings: true,
      vocab_size: 49152,
    },
    parameters: 134_515_008,
    facts: { headSize: 64, ropes: [{ theta: 100000, size: 64, scaling: { type: 'default' } }] },
  },
  'mistralai/Mistral-7B-v0.1': {
    config: mistral7b,
    parameters: 7_241_732_096,
    facts: { attention: Array(32).fill({ window: 4096, rope: 0 }) },
  },
  'mistralai/Mistral-7B-v0.3': {
    config: { ...mistral7b, rope_theta: 1000000.0, sliding_window: null, vocab_size: 32768 },
    parameters: 7_248_023_552,
    facts: { attention: Array(32).fill({ window: null, rope: 0 }) },
  },
  'HuggingFaceH4/zephyr-7b-beta': {
    config: { ...mistral7b, pad_token_id: 2, use_cache: true },
    parameters: 7_241_732_096,
    facts: { attention: Array(32).fill({ window: 4096, rope: 0 }), paddingToken: 2 },
  },
  'mistralai/Mistral-Nemo-Base-2407': {
    config: {
      ...mistral7b,
      head_dim: 128,
      hidden_size: 5120,
      max_position_embeddings: 128000,
      num_hidden_layers: 40,
      rope_theta: 1000000.0,
      sliding_window: null,
      vocab_size: 131072,
    },
    parameters: 12_247_782_400,
    facts: { headSize: 128 },
  },
  'Qwen/Qwen2.5-0.5B': {
    config: {
      model_type: 'qwen2',
      hidden_act: 'silu',
      hidden_size: 896,
      intermediate_size: 4864,
      max_position_embeddings: 32768,
      max_window_layers: 24,
      num_attention_heads: 14,
      num_hidden_layers: 24,
      num_key_value_heads: 2,
      rms_norm_eps: 1e-6,
      rope_theta: 1000000.0,
      sliding_window: 32768,
      tie_word_embeddings: true,
      use_mrope: false,
      use_sliding_window: false,
      vocab_size: 151936,
    },
    parameters: 494_032_768,
    facts: {
      biases: { queryKeyValue: true, attentionOutput: false, feedForward: false },
      attention: Array(24).fill({ window: null, rope: 0 }),
    },
  },
  'Qwen/Qwen3-0.6B': {
    config: {
      model_type: 'qwen3',
      attention_bias: false,
      head_dim: 128,
      hidden_act: 'silu',
      hidden_size: 1024,
      intermediate_size: 3072,
      max_position_embeddings: 40960,
      max_window_layers: 28,
      num_attention_heads: 16,
      num_hidden_layers: 28,
      num_key_value_heads: 8,
      rms_norm_eps: 1e-6,
      rope_scaling: null,
      rope_theta: 1000000,
      sliding_window: null,
      tie_word_embeddings: true,
      use_sliding_window: false,
      vocab_size: 151936,
    },
    parameters: 596_049_920,
    facts: { headSize: 128 },
  },
  'EleutherAI/pythia-160m': {
    config: {
      model_type: 'gpt_neox',
      hidden_act: 'gelu',
      hidden_size: 768,
      intermediate_size: 3072,
      layer_norm_eps: 1e-5,
      max_position_embeddings: 2048,
      num_attention_heads: 12,
      num_hidden_layers: 12,
      rotary_emb_base: 10000,
      rotary_pct: 0.25,
      tie_word_embeddings: false,
      use_parallel_residual: true,
      vocab_size: 50304,
    },
    parameters: 162_322_944,
    facts: {
      parallelResidual: true,
      activation: 'gelu',
      norm: { kind: 'layer', epsilon: 1e-5, offset: 0 },
      ropes: [{ theta: 10000, size: 16, scaling: { type: 'default' } }],
    },
  },
  'google/gemma-2-2b': {
    config: {
      model_type: 'gemma2',
      attn_logit_softcapping: 50.0,
      cache_implementation: 'hybrid',
      final_logit_softcapping: 30.0,
      head_dim: 256,
      hidden_act: 'gelu_pytorch_tanh',
      hidden_activation: 'gelu_pytorch_tanh',
      hidden_size: 2304,
      intermediate_size: 9216,
      max_position_embeddings: 8192,
      num_attention_heads: 8,
      num_hidden_layers: 26,
      num_key_value_heads: 4,
      pad_token_id: 0,
      query_pre_attn_scalar: 256,
      rms_norm_eps: 1e-6,
      rope_theta: 10000.0,
      sliding_window: 4096,
      vocab_size: 256000,
    },
    parameters: 2_614_341_888,
    facts: {
      tiedHead: true,
      embeddingScale: 48,
      queryScale: 1 / 16,
      attentionSoftCap: 50,
      logitSoftCap: 30,
      activation: 'gelu_tanh',
      attention: Array.from({ length: 26 }, (_, i) => ({ window: i % 2 === 0 ? 4096 : null, rope: 0 })),
    },
  },
  'google/gemma-3-1b-pt': {
    config: {
      model_type: 'gemma3_text',
      attention_bias: false,
      attn_logit_softcapping: null,
      cache_implementation: 'hybrid',
      final_logit_softcapping: null,
      head_dim: 256,
      hidden_activation: 'gelu_pytorch_tanh',
      hidden_size: 1152,
      intermediate_size: 6912,
      max_position_embeddings: 32768,
      num_attention_heads: 4,
      num_hidden_layers: 26,
      num_key_value_heads: 1,
      pad_token_id: 0,
      query_pre_attn_scalar: 256,
      rms_norm_eps: 1e-6,
      rope_local_base_freq: 10000,
      rope_scaling: null,
      rope_theta: 1000000,
      sliding_window: 512,
      sliding_window_pattern: 6,
      vocab_size: 262144,
    },
    parameters: 999_885_952,
    facts: {
      tiedHead: true,
      attentionSoftCap: null,
      logitSoftCap: null,
      ropes: [
        { theta: 1000000, size: 256, scaling: { type: 'default' } },
        { theta: 10000, size: 256, scaling: { type: 'default' } },
      ],
      attention: Array.from({ length: 26 }, (_, i) =>
        i % 6 === 5 ? { window: null, rope: 0 } : { window: 512, rope: 1 },
      ),
    },
  },
  'microsoft/Phi-3-mini-4k-instruct': {
    config: phi3mini,
    parameters: 3_821_079_552,
    facts: {
      attention: Array(32).fill({ window: 2047, rope: 0 }),
      ropes: [{ theta: 10000, size: 96, scaling: { type: 'default' } }],
    },
  },
  'microsoft/Phi-3-mini-128k-instruct': {
    config: {
      ...phi3mini,
      max_position_embeddings: 131072,
      rope_scaling: { long_factor: factors(1), short_factor: factors(0.5), type: 'longrope' },
      sliding_window: 262144,
    },
    parameters: 3_821_079_552,
    facts: { attention: Array(32).fill({ window: 262144, rope: 0 }) },
  },
}

const count = (config: ModelConfig) =>
  [...parameterShapes(config).values()].reduce(
    (sum, shape) => sum + shape.reduce((product, size) => product * size, 1),
    0,
  )

describe.each(Object.entries(models))('%s', (name, { config, parameters, facts }) => {
  const parsed = parseModelConfig(config, `${name}/config.json`)

  it('has as many parameters as published', () => {
    expect(count(parsed)).toBe(parameters)
  })

  it('is read as transformers reads it', () => {
    expect(parsed).toMatchObject(facts)
  })
})

describe('windows', () => {
  const windows = (name: string, change: object) =>
    parseModelConfig({ ...models[name]!.config, ...change }, 'config.json').attention.map(({ window }) => window)

  it('are in the later layers of Qwen2 where they are switched on', () => {
    const change = { use_sliding_window: true, sliding_window: 4096, max_window_layers: 21 }
    expect(windows('Qwen/Qwen2.5-0.5B', change)).toEqual([...Array(21).fill(null), 4096, 4096, 4096])
  })

  it('are where layer_types says, which has one entry a layer', () => {
    const kinds = [...Array(25).fill('full_attention'), 'sliding_attention']
    expect(windows('google/gemma-2-2b', { layer_types: kinds })).toEqual([...Array(25).fill(null), 4096])
    expect(() => windows('google/gemma-2-2b', { layer_types: kinds.slice(1) })).toThrow(
      'layer_types has 25 entries, num_hidden_layers is 26',
    )
    expect(() => windows('google/gemma-2-2b', { layer_types: [...kinds.slice(1), 'linear_attention'] })).toThrow(
      "layer_types: 'linear_attention' is not supported; supported: full_attention, sliding_attention",
    )
  })
})

describe('LongRoPE of Phi-3-mini-128k', () => {
  const { ropes } = parseModelConfig(models['microsoft/Phi-3-mini-128k-instruct']!.config, 'config.json')

  it('has short factors up to the trained length, and long ones past it', () => {
    const [atMost, past] = [4096, 4097].map((tokens) => ropeFrequencies(ropes[0]!, tokens))
    expect(atMost![0]! / past![0]!).toBeCloseTo(1 / 0.5, 5)
  })

  it('has an amplitude of sqrt(1 + ln 32 / ln 4096), whatever the length', () => {
    expect(ropeAmplitude(ropes[0]!)).toBeCloseTo(1.1902380714238083, 12)
  })

  it('was called su, and yarn, at first', () => {
    const { rope_scaling, ...config } = models['microsoft/Phi-3-mini-128k-instruct']!.config as { rope_scaling: object }
    for (const type of ['su', 'yarn'])
      expect(parseModelConfig({ ...config, rope_scaling: { ...rope_scaling, type } }, 'config.json').ropes).toEqual(
        ropes,
      )
  })
})
