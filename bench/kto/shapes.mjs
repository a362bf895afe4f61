// Model shapes of the benches: Llamas with fresh weights, of the sizes of well-known small models.

const llama = (fields) => ({
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_act: 'silu',
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 100000,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: 2,
  ...fields,
})

export const shapes = {
  /** Two layers: for trying a bench out. */
  tiny: llama({
    hidden_size: 64,
    intermediate_size: 128,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: 512,
  }),
  /** SmolLM2-135M's. */
  '135m': llama({
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49152,
  }),
  /** SmolLM2-360M's. */
  '360m': llama({
    hidden_size: 960,
    intermediate_size: 2560,
    num_hidden_layers: 32,
    num_attention_heads: 15,
    num_key_value_heads: 5,
    vocab_size: 49152,
  }),
  /** TinyLlama-1.1B's. */
  '1.1b': llama({
    hidden_size: 2048,
    intermediate_size: 5632,
    num_hidden_layers: 22,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    vocab_size: 32000,
    tie_word_embeddings: false,
  }),
  /** Qwen2.5-0.5B's, without the biases of its attention. */
  '0.5b': llama({
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    vocab_size: 151936,
  }),
}

/** Weights of the matrices of all blocks, and of the output head. */
export function matrixWeights(shape) {
  const { hidden_size: width, num_attention_heads: heads, num_key_value_heads: groups } = shape
  const head = width / heads
  const attention = 2 * width * heads * head + 2 * width * groups * head
  return {
    blocks: shape.num_hidden_layers * (attention + 3 * width * shape.intermediate_size),
    head: width * shape.vocab_size,
  }
}

/**
 * Floating-point operations that one KTO step cannot do without, whoever does it: every prompt of the batch once for all its completions,
 * every token but a completion's last through the blocks, the head at completion tokens only; forward and backward for the rows (three times
 * the forward; twice with LoRA, where no gradient of frozen weights is due), forward alone for the mismatched completions. The
 * reference's log-probabilities are taken as known. Recomputation, padding and repeated prompts do not count.
 * `rows`: [{prompt, completion, group}] with lengths in tokens; `mismatched`: [{prompt, completion}].
 */
export function requiredFlops(shape, rows, mismatched, method) {
  const passes = method === 'lora' ? 2 : 3
  const weights = matrixWeights(shape)
  const prompts = new Map(rows.map(({ group, prompt }) => [group, prompt]))
  let [own, ownContext, heads] = [0, 0, 0]
  for (const length of prompts.values()) {
    own += length
    ownContext += triangle(length)
  }
  for (const { prompt, completion } of rows) {
    own += completion - 1
    ownContext += (completion - 1) * prompt + triangle(completion - 1)
    heads += completion
  }
  let [other, otherContext, otherHeads] = [0, 0, 0]
  for (const { prompt, completion } of mismatched) {
    other += completion - 1
    otherContext += (completion - 1) * prompt + triangle(completion - 1)
    otherHeads += completion
  }
  const perContext = 4 * shape.hidden_size * shape.num_hidden_layers // scores and mixing, a multiply and an add each
  const attentionPasses = 3 // neither factor of its products is a frozen weight
  return (
    2 * weights.blocks * (passes * own + other) +
    2 * weights.head * (passes * heads + otherHeads) +
    perContext * (attentionPasses * ownContext + otherContext)
  )
}

const triangle = (n) => (n * (n + 1)) / 2
