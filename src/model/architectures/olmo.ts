import { type Architecture, commonFields, llamaLike, llamaNames } from './fields.ts'

/** arXiv 2501.00656: norms stand after attention and feed-forward only, and queries and keys are normed whole. */
export const olmo2: Architecture = {
  models: 'OLMo 2',
  read(raw) {
    const config = llamaLike('olmo2', commonFields.parse(raw), {
      maxPositions: 2048,
      normEpsilon: 1e-5,
      paddingToken: 1,
    })
    const block = {
      ...llamaNames.block,
      attentionNorm: null,
      attentionOutputNorm: 'post_attention_layernorm',
      feedForwardNorm: null,
      feedForwardOutputNorm: 'post_feedforward_layernorm',
      queryNorm: 'self_attn.q_norm',
      keyNorm: 'self_attn.k_norm',
    }
    const biases = { ...config.biases, feedForward: false }
    return { ...config, biases, queryKeyNorm: 'whole', names: { ...llamaNames, block } }
  },
}
