import { z } from 'zod'
import type { WeightNames } from '../config.ts'
import { type Architecture, commonFields, llamaLike, llamaNames, sameEverywhere, sharedRope } from './fields.ts'
import { ropeConfig } from './rope-fields.ts'

const phiFields = commonFields.extend({
  original_max_position_embeddings: z.number().int().positive().default(4096),
})

const names: WeightNames = {
  ...llamaNames,
  block: {
    ...llamaNames.block,
    queryKeyValue: { layout: 'stacked', fused: 'self_attn.qkv_proj' },
    feedForward: { layout: 'gated-fused', gateUp: 'mlp.gate_up_proj', down: 'mlp.down_proj' },
  },
}

/** arXiv 2404.14219: Llama with fused projections; longer contexts by LongRoPE. */
export const phi3: Architecture = {
  models: 'Phi-3, Phi-3.5 mini, Phi-4 mini',
  read(raw) {
    const fields = phiFields.parse(raw)
    const config = llamaLike(
      'phi3',
      { ...fields, rope_scaling: null, rope_parameters: null },
      { maxPositions: 4096, normEpsilon: 1e-5, paddingToken: 32000 },
    )
    const { headSize, maxPositions } = config
    const rope = sharedRope(fields)
    const type = rope.rope_type ?? rope.type ?? 'default'
    const share = rope.partial_rotary_factor ?? fields.partial_rotary_factor ?? 1
    const scaling = {
      ...rope,
      rope_type: ['su', 'yarn'].includes(type) ? 'longrope' : type, // what it was called at first
      original_max_position_embeddings: fields.original_max_position_embeddings,
    }
    return {
      ...config,
      ropes: [ropeConfig(scaling, { headSize, maxPositions, size: Math.floor(headSize * share) })],
      attention: sameEverywhere(config.layers, fields.sliding_window ?? null),
      biases: { queryKeyValue: false, attentionOutput: false, feedForward: false },
      names,
    }
  },
}
