import { z } from 'zod'
import type { ModelConfig, WeightNames } from '../config.ts'
import {
  type Architecture,
  activationOf,
  type CommonFields,
  commonFields,
  type Defaults,
  layerKinds,
  llamaLike,
  llamaNames,
  refuse,
  sharedRope,
} from './fields.ts'
import { type RopeFields, ropeConfig, ropeFields } from './rope-fields.ts'

const cap = z.number().positive().nullish()
const gemmaFields = commonFields.extend({
  hidden_activation: z.string().nullish(),
  query_pre_attn_scalar: z.number().positive().default(256),
  attn_logit_softcapping: cap,
  final_logit_softcapping: cap,
  use_bidirectional_attention: z.boolean().nullish(),
})
const gemma3Fields = gemmaFields.extend({
  sliding_window_pattern: z.number().int().positive().default(6),
  rope_local_base_freq: z.number().positive().default(10000),
  rope_parameters: z.never().nullish(), // by kind of layer
})
const ropeByKind = z
  .looseObject({ sliding_attention: ropeFields.nullish(), full_attention: ropeFields.nullish() })
  .nullish()

/** Norms stand before and after attention and feed-forward. */
const sandwich = {
  ...llamaNames.block,
  attentionOutputNorm: 'post_attention_layernorm',
  feedForwardNorm: 'pre_feedforward_layernorm',
  feedForwardOutputNorm: 'post_feedforward_layernorm',
}
const gemma2Names: WeightNames = { ...llamaNames, block: sandwich }
const gemma3Names: WeightNames = {
  ...llamaNames,
  block: { ...sandwich, queryNorm: 'self_attn.q_norm', keyNorm: 'self_attn.k_norm' },
}

/** arXiv 2403.08295: Llama with scaled embeddings, norms whose weights begin at 0, and GELU. */
export const gemma1: Architecture = {
  models: 'Gemma',
  read(raw) {
    const { hidden_act, ...fields } = gemmaFields.parse(raw)
    const config = gemma('gemma', fields, { ...shared, maxPositions: 8192, keyValueHeads: 16 })
    // the first files say gelu, and mean its approximation by tanh
    const activation = hidden_act === undefined || hidden_act === 'gelu' ? 'gelu_pytorch_tanh' : hidden_act
    return { ...config, activation: activationOf(activation, 'hidden_act'), queryScale: config.headSize ** -0.5 }
  },
}

/** arXiv 2408.00118: as Gemma, norms before and after, soft caps, every other layer local. */
export const gemma2: Architecture = {
  models: 'Gemma 2',
  read(raw) {
    const fields = gemmaFields.parse(raw)
    const window = windowOf(fields)
    const softCap = (given: number | null | undefined, otherwise: number) => (given === undefined ? otherwise : given)
    return {
      ...gemma('gemma2', fields, { maxPositions: 8192, ...shared }),
      attentionSoftCap: softCap(fields.attn_logit_softcapping, 50),
      logitSoftCap: softCap(fields.final_logit_softcapping, 30),
      attention: layerKinds(fields, (layer) => layer % 2 === 0).map((kind) => ({
        window: kind === 'sliding_attention' ? window : null,
        rope: 0,
      })),
      names: gemma2Names,
    }
  },
}

/** arXiv 2503.19786: local layers turn by a base of their own, queries and keys are normed; no soft cap in the attention. */
export const gemma3Text: Architecture = {
  models: 'Gemma 3, text only (270M, 1B)',
  read(raw) {
    const { rope_parameters, ...others } = z.looseObject({ rope_parameters: ropeByKind }).parse(raw)
    const fields = gemma3Fields.parse(others)
    const config = gemma('gemma3_text', fields, { maxPositions: 131072, ...shared })
    const { full, local } = gemma3Ropes(fields, rope_parameters)
    const window = windowOf(fields)
    return {
      ...config,
      logitSoftCap: fields.final_logit_softcapping ?? null,
      ropes: [full, local].map((rope) => ropeConfig(rope, config)),
      attention: layerKinds(fields, (layer) => (layer + 1) % fields.sliding_window_pattern !== 0).map((kind) =>
        kind === 'sliding_attention' ? { window, rope: 1 } : { window: null, rope: 0 },
      ),
      names: gemma3Names,
    }
  },
}

const shared = { keyValueHeads: 4, headSize: 256, tiedHead: true, paddingToken: 0 }

function gemma(modelType: string, fields: z.output<typeof gemmaFields>, defaults: Defaults): ModelConfig {
  if (fields.use_bidirectional_attention) refuse('use_bidirectional_attention is set: the model is an encoder')
  const config = llamaLike(modelType, fields, defaults)
  return {
    ...config,
    norm: { ...config.norm, offset: 1 },
    activation: activationOf(fields.hidden_activation ?? 'gelu_pytorch_tanh', 'hidden_activation'),
    queryScale: fields.query_pre_attn_scalar ** -0.5,
    embeddingScale: Math.sqrt(fields.hidden_size),
    biases: { ...config.biases, feedForward: false },
  }
}

function windowOf({ sliding_window }: CommonFields): number | null {
  return sliding_window === undefined ? 4096 : sliding_window
}

/** Scaling is of the layers that see all; those with a window turn plainly. transformers 4 has one spelling for each, 5 one for both. */
function gemma3Ropes(
  { rope_theta = 1_000_000, rope_scaling, rope_local_base_freq }: z.output<typeof gemma3Fields>,
  byKind: z.output<typeof ropeByKind>,
): { full: RopeFields; local: RopeFields } {
  return {
    full: sharedRope({ rope_theta, rope_parameters: { ...byKind?.full_attention, ...rope_scaling } }),
    local: sharedRope({ rope_theta: rope_local_base_freq, rope_parameters: byKind?.sliding_attention }),
  }
}
