import { z } from 'zod'
import { type Architecture, commonFields, layerKinds, llamaLike, refuse } from './fields.ts'

const smolFields = commonFields.extend({
  no_rope_layers: z.array(z.number().int()).nullish(),
  no_rope_layer_interval: z.number().int().positive().default(4),
  use_sliding_window: z.boolean().default(false),
})

/** huggingface.co/blog/smollm3: Llama in which every fourth layer turns nothing (NoPE, arXiv 2501.18795). */
export const smollm3: Architecture = {
  models: 'SmolLM3',
  read(raw) {
    const fields = smolFields.parse(raw)
    const config = llamaLike('smollm3', fields, {
      maxPositions: 32768,
      keyValueHeads: 4,
      tiedHead: true,
      theta: 2_000_000,
      paddingToken: 128004,
    })
    const { layers } = config
    const interval = fields.no_rope_layer_interval
    const turned = fields.no_rope_layers ?? Array.from({ length: layers }, (_, i) => ((i + 1) % interval === 0 ? 0 : 1))
    if (turned.length < layers) refuse(`no_rope_layers has ${turned.length} entries, num_hidden_layers is ${layers}`)
    const window = fields.use_sliding_window ? (fields.sliding_window ?? null) : null
    const kinds = layerKinds(fields, (layer) => window !== null && !turned[layer])
    const attention = kinds.map((kind, layer) => ({
      window: kind === 'sliding_attention' ? window : null,
      rope: turned[layer] ? 0 : null,
    }))
    return { ...config, attention }
  },
}
