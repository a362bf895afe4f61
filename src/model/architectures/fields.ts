import { z } from 'zod'
import type { Activation, LayerAttention, ModelConfig, WeightNames } from '../config.ts'
import { type RopeFields, ropeConfig, ropeFields } from './rope-fields.ts'

const positive = z.number().int().positive()
const flag = (value: boolean) =>
  z
    .boolean()
    .nullish()
    .transform((given) => given ?? value)

/** Fields of config.json that most architectures share. Defaults are those of transformers' classes, which its files may leave out. */
export const commonFields = z.looseObject({
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.nullish(),
  max_position_embeddings: positive.optional(),
  initializer_range: z.number().positive().default(0.02),
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.string().optional(),
  rms_norm_eps: z.number().positive().optional(),
  attention_bias: flag(false),
  mlp_bias: flag(false),
  sliding_window: positive.nullish(),
  layer_types: z.array(z.string()).nullish(),
  pad_token_id: z.number().int().nullish(),
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeFields.nullish(),
  rope_parameters: ropeFields.nullish(),
  partial_rotary_factor: z.number().positive().max(1).optional(),
})
export type CommonFields = z.output<typeof commonFields>

/** What an architecture's class in transformers sets where config.json does not. */
export interface Defaults {
  maxPositions: number
  normEpsilon?: number
  keyValueHeads?: number
  headSize?: number
  tiedHead?: boolean
  theta?: number
  paddingToken?: number
}

/** How the config.json of a `model_type` is read. */
export interface Architecture {
  /** Models that have it, for messages and docs. */
  models: string
  /** Throws an Error or a ZodError that names the field. */
  read(raw: unknown): ModelConfig
  /** How stored weights may be called otherwise: the pattern is replaced to get the name that they have here. */
  aliases?: readonly (readonly [pattern: RegExp, replacement: string])[]
}

/** Throws an Error that names the field; the file is named by the caller. */
export function refuse(message: string): never {
  throw new Error(message)
}

const activations: Record<string, Activation> = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_fast: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  relu: 'relu',
}

export function activationOf(name: string, field: string): Activation {
  const known = Object.hasOwn(activations, name) ? activations[name] : undefined
  return known ?? refuse(`${field} is '${name}'; supported: ${Object.keys(activations).join(', ')}`)
}

/** The names that Llama gave, and that most took over. */
export const llamaNames: WeightNames = {
  embedding: 'model.embed_tokens',
  finalNorm: 'model.norm',
  head: 'lm_head',
  layers: 'model.layers.',
  block: {
    attentionNorm: 'input_layernorm',
    attentionOutputNorm: null,
    feedForwardNorm: 'post_attention_layernorm',
    feedForwardOutputNorm: null,
    queryKeyValue: {
      layout: 'separate',
      query: 'self_attn.q_proj',
      key: 'self_attn.k_proj',
      value: 'self_attn.v_proj',
    },
    queryNorm: null,
    keyNorm: null,
    attentionOutput: 'self_attn.o_proj',
    feedForward: { layout: 'gated', gate: 'mlp.gate_proj', up: 'mlp.up_proj', down: 'mlp.down_proj' },
  },
}

/** The whole configuration of a Llama: others say what is different with them. */
export function llamaLike(modelType: string, fields: CommonFields, defaults: Defaults): ModelConfig {
  const heads = fields.num_attention_heads
  const headSize = fields.head_dim ?? defaults.headSize ?? fields.hidden_size / heads
  const keyValueHeads = fields.num_key_value_heads ?? defaults.keyValueHeads ?? heads
  const maxPositions = fields.max_position_embeddings ?? defaults.maxPositions
  if (!Number.isInteger(headSize) || headSize % 2 !== 0)
    refuse(`the head size must be even, but hidden_size / num_attention_heads is ${headSize}`)
  if (heads % keyValueHeads !== 0)
    refuse(`num_attention_heads (${heads}) must be a multiple of num_key_value_heads (${keyValueHeads})`)
  return {
    modelType,
    vocabularySize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    intermediateSize: fields.intermediate_size,
    layers: fields.num_hidden_layers,
    heads,
    keyValueHeads,
    headSize,
    maxPositions,
    norm: { kind: 'rms', epsilon: fields.rms_norm_eps ?? defaults.normEpsilon ?? 1e-6, offset: 0 },
    activation: activationOf(fields.hidden_act ?? 'silu', 'hidden_act'),
    parallelResidual: false,
    queryKeyNorm: 'by-head',
    queryScale: headSize ** -0.5,
    attentionSoftCap: null,
    logitSoftCap: null,
    embeddingScale: 1,
    tiedHead: fields.tie_word_embeddings ?? defaults.tiedHead ?? false,
    biases: {
      queryKeyValue: fields.attention_bias,
      attentionOutput: fields.attention_bias,
      feedForward: fields.mlp_bias,
    },
    ropes: [ropeConfig(sharedRope(fields, defaults), { headSize, maxPositions })],
    attention: sameEverywhere(fields.num_hidden_layers, null),
    names: llamaNames,
    initializerRange: fields.initializer_range,
    paddingToken: paddingToken(fields, defaults),
  }
}

/** Where all layers turn alike, in the spelling of transformers 5 (rope_parameters) or 4 (rope_theta, rope_scaling). */
export function sharedRope(
  { rope_theta, rope_scaling, rope_parameters }: RopeSpelling,
  { theta = 10000 }: Pick<Defaults, 'theta'> = {},
): RopeFields {
  return { rope_theta: rope_theta ?? theta, ...withoutNulls(rope_parameters ?? rope_scaling ?? {}) }
}

interface RopeSpelling {
  rope_theta?: number | undefined
  rope_scaling?: RopeFields | null | undefined
  rope_parameters?: RopeFields | null | undefined
}

function withoutNulls<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null)) as T
}

function paddingToken({ pad_token_id, vocab_size }: CommonFields, defaults: Defaults): number | null {
  const id = pad_token_id === undefined ? defaults.paddingToken : pad_token_id
  return id == null || id < 0 || id >= vocab_size ? null : id
}

/** The same window in all layers. */
export function sameEverywhere(layers: number, window: number | null): LayerAttention[] {
  return Array.from({ length: layers }, () => ({ window, rope: 0 }))
}

/** Each layer's kind: `layer_types`, or what the architecture says where it is left out. */
export function layerKinds(
  fields: CommonFields,
  slidingByDefault: (layer: number) => boolean,
): ('sliding_attention' | 'full_attention')[] {
  const { num_hidden_layers: layers, layer_types: given } = fields
  const kinds = given ?? Array.from({ length: layers }, (_, i) => (slidingByDefault(i) ? sliding : full))
  if (kinds.length !== layers) refuse(`layer_types has ${kinds.length} entries, num_hidden_layers is ${layers}`)
  return kinds.map((kind) =>
    kind === sliding || kind === full
      ? kind
      : refuse(`layer_types: '${kind}' is not supported; supported: ${full}, ${sliding}`),
  )
}

const sliding = 'sliding_attention'
const full = 'full_attention'
