import { z } from 'zod'
import type { LayerAttention } from '../config.ts'
import { type Architecture, commonFields, layerKinds, llamaLike, llamaNames, refuse } from './fields.ts'

const qwenFields = commonFields.extend({
  use_sliding_window: z.boolean().default(false),
  max_window_layers: z.number().int().nonnegative().default(28),
})

/** arXiv 2407.10671: Llama with biases on queries, keys and values. */
export const qwen2: Architecture = {
  models: 'Qwen2, Qwen2.5',
  read(raw) {
    const fields = qwenFields.parse(raw)
    const config = llamaLike('qwen2', fields, { maxPositions: 32768, keyValueHeads: 32 })
    const biases = { queryKeyValue: true, attentionOutput: false, feedForward: false }
    return { ...config, biases, attention: qwenAttention(fields) }
  },
}

/** arXiv 2505.09388: queries and keys are normed a head at a time, before they are turned. */
export const qwen3: Architecture = {
  models: 'Qwen3 (dense)',
  read(raw) {
    const fields = qwenFields.parse(raw)
    const config = llamaLike('qwen3', fields, { maxPositions: 32768, keyValueHeads: 32, headSize: 128 })
    const block = { ...llamaNames.block, queryNorm: 'self_attn.q_norm', keyNorm: 'self_attn.k_norm' }
    const biases = { ...config.biases, feedForward: false }
    return { ...config, biases, attention: qwenAttention(fields), names: { ...llamaNames, block } }
  },
}

/** The later layers have a window, where it is switched on. */
function qwenAttention(fields: z.output<typeof qwenFields>): LayerAttention[] {
  const { use_sliding_window: on, max_window_layers: first, sliding_window = 4096 } = fields
  const window = on ? sliding_window : null
  return layerKinds(fields, (layer) => window !== null && layer >= first).map((kind) => {
    if (kind === 'full_attention') return { window: null, rope: 0 }
    return { window: window ?? refuse('layer_types has sliding_attention, but use_sliding_window is false'), rope: 0 }
  })
}
