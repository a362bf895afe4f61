import { z } from 'zod'
import type { ModelConfig, WeightNames } from '../config.ts'
import { type Architecture, activationOf, commonFields, llamaLike, sharedRope } from './fields.ts'
import { ropeConfig } from './rope-fields.ts'

const neoxFields = commonFields.extend({
  hidden_act: z.string().default('gelu'),
  layer_norm_eps: z.number().positive().default(1e-5),
  use_parallel_residual: z.boolean().default(true),
  attention_bias: z.boolean().default(true),
  rotary_pct: z.number().positive().max(1).optional(),
  rotary_emb_base: z.number().positive().optional(),
})

const names: WeightNames = {
  embedding: 'gpt_neox.embed_in',
  finalNorm: 'gpt_neox.final_layer_norm',
  head: 'embed_out',
  layers: 'gpt_neox.layers.',
  block: {
    attentionNorm: 'input_layernorm',
    attentionOutputNorm: null,
    feedForwardNorm: 'post_attention_layernorm',
    feedForwardOutputNorm: null,
    queryKeyValue: { layout: 'by-head', fused: 'attention.query_key_value' },
    queryNorm: null,
    keyNorm: null,
    attentionOutput: 'attention.dense',
    feedForward: { layout: 'plain', up: 'mlp.dense_h_to_4h', down: 'mlp.dense_4h_to_h' },
  },
}

/** arXiv 2204.06745 (GPT-NeoX), 2304.01373 (Pythia): LayerNorm, parallel residual, part of each head turned. */
export const gptNeox: Architecture = {
  models: 'GPT-NeoX, Pythia',
  aliases: [[/^lm_head\./, 'embed_out.']], // what transformers 5 calls it in memory
  read(raw) {
    const fields = neoxFields.parse(raw)
    const config = llamaLike(
      'gpt_neox',
      { ...fields, num_key_value_heads: null, head_dim: null },
      { maxPositions: 2048 },
    )
    const biased = fields.attention_bias
    return {
      ...config,
      norm: { kind: 'layer', epsilon: fields.layer_norm_eps, offset: 0 },
      activation: activationOf(fields.hidden_act, 'hidden_act'),
      parallelResidual: fields.use_parallel_residual,
      biases: { queryKeyValue: biased, attentionOutput: biased, feedForward: true },
      ropes: [neoxRope(fields, config)],
      names,
      paddingToken: null,
    }
  },
}

function neoxRope(fields: z.output<typeof neoxFields>, { headSize, maxPositions }: ModelConfig) {
  const rope = sharedRope({ ...fields, rope_theta: fields.rotary_emb_base ?? fields.rope_theta })
  const share = rope.partial_rotary_factor ?? fields.rotary_pct ?? 0.25
  return ropeConfig(rope, { headSize, maxPositions, size: Math.floor(headSize * share) })
}
