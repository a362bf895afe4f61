// What bench/gpu/bench.mjs measures, in the order of what is worth most when time runs out. `useful`: tokens of a row at the mean times rows.

/** Llamas of the sizes of well-known models, fresh weights. */
const llama3 = { vocab_size: 128256, num_key_value_heads: 8, rope_theta: 500000, tie_word_embeddings: true }
export const gpuShapes = {
  tiny: {
    hidden_size: 256,
    intermediate_size: 512,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: 1024,
  },
  /** Qwen2.5-0.5B's, without the biases of its attention. */
  '0.5b': {
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    vocab_size: 151936,
  },
  /** Llama-3.2-1B's. */
  '1b': { ...llama3, hidden_size: 2048, intermediate_size: 8192, num_hidden_layers: 16, num_attention_heads: 32 },
  /** Llama-3-8B's. */
  '8b': {
    ...llama3,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    tie_word_embeddings: false,
  },
  /** Qwen2.5-32B's, without the biases of its attention: for bench/gpu/allocate.mjs. */
  '32b': {
    vocab_size: 152064,
    hidden_size: 5120,
    intermediate_size: 27648,
    num_hidden_layers: 64,
    num_attention_heads: 40,
    num_key_value_heads: 8,
    tie_word_embeddings: false,
  },
}

export function configOf(name) {
  return {
    ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_act: 'silu', max_position_embeddings: 8192 },
    ...{ rms_norm_eps: 1e-5, rope_theta: 100000, tie_word_embeddings: true, bos_token_id: 1, eos_token_id: 2 },
    ...{ initializer_range: 0.02, torch_dtype: 'bfloat16' },
    ...gpuShapes[name],
  }
}

const setting = (shape, method, ratio, more = {}) => ({
  shape,
  method,
  ratio,
  batch: 16,
  length: 1024,
  steps: 5,
  warmup: 2,
  ...more,
})

/** Each group is one process a side, which loads the model once a setting. */
export const groups = {
  tiny: [setting('tiny', 'full', '1:1', { batch: 4, length: 128, steps: 3, warmup: 1 })],
  '1b-full': ['4:1', '1:1', '1:4'].map((ratio) => setting('1b', 'full', ratio)),
  '8b-lora': ['4:1', '1:1', '1:4'].map((ratio) =>
    setting('8b', 'lora', ratio, { checkpointing: true, steps: 3, warmup: 1 }),
  ),
  '0.5b-full': ['4:1', '1:1', '1:4'].map((ratio) => setting('0.5b', 'full', ratio)),
  '1b-lora': ['4:1', '1:1', '1:4'].map((ratio) => setting('1b', 'lora', ratio)),
  '0.5b-lora': ['4:1', '1:1', '1:4'].map((ratio) => setting('0.5b', 'lora', ratio)),
}
