import { z } from 'zod'

/** Rotary embedding: base frequency and how it is stretched to longer contexts. */
export interface RopeConfig {
  theta: number
  scaling:
    | { type: 'default' }
    | { type: 'linear'; factor: number }
    | {
        type: 'llama3'
        factor: number
        lowFrequencyFactor: number
        highFrequencyFactor: number
        originalMaxPositions: number
      }
}

/** A decoder's shape, from `config.json`. */
export interface ModelConfig {
  vocabularySize: number
  hiddenSize: number
  intermediateSize: number
  layers: number
  heads: number
  keyValueHeads: number
  headSize: number
  normEpsilon: number
  /** The output head is the input embedding. */
  tiedHead: boolean
  attentionBias: boolean
  mlpBias: boolean
  maxPositions: number
  /** Standard deviation of fresh weights. */
  initializerRange: number
  rope: RopeConfig
}

const positive = z.number().int().positive()
const ropeFields = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: positive.optional(),
})
const llamaFields = z.looseObject({
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.nullish(),
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  max_position_embeddings: positive.default(2048),
  initializer_range: z.number().positive().default(0.02),
  hidden_act: z.literal('silu').default('silu'),
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeFields.nullish(),
  rope_parameters: ropeFields.nullish(), // transformers 5
})

/** Model types whose config and weights are read. */
const supported = ['llama']

/**
 * Reads a Hugging Face `config.json`, in the spelling of transformers 4 or 5. `file` is named in errors.
 * Throws where the architecture is not supported or a field is missing or out of range.
 */
export function parseModelConfig(config: unknown, file: string): ModelConfig {
  const type = (config as { model_type?: unknown })?.model_type
  if (typeof type !== 'string' || !supported.includes(type)) {
    throw new Error(`${file}: model_type is ${JSON.stringify(type)}; supported: ${supported.join(', ')}`)
  }
  if ((config as { quantization_config?: unknown }).quantization_config) {
    throw new Error(`${file}: the weights are quantized (quantization_config); train the model they were made from`)
  }
  const parsed = llamaFields.safeParse(config)
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    throw new Error(`${file}: ${problems.join('; ')}`)
  }
  const fields = parsed.data
  const heads = fields.num_attention_heads
  const result: ModelConfig = {
    vocabularySize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    intermediateSize: fields.intermediate_size,
    layers: fields.num_hidden_layers,
    heads,
    keyValueHeads: fields.num_key_value_heads ?? heads,
    headSize: fields.head_dim ?? fields.hidden_size / heads,
    normEpsilon: fields.rms_norm_eps,
    tiedHead: fields.tie_word_embeddings,
    attentionBias: fields.attention_bias,
    mlpBias: fields.mlp_bias,
    maxPositions: fields.max_position_embeddings,
    initializerRange: fields.initializer_range,
    rope: ropeConfig(fields, file),
  }
  if (!Number.isInteger(result.headSize) || result.headSize % 2 !== 0) {
    throw new Error(`${file}: the head size must be even, but hidden_size / num_attention_heads is ${result.headSize}`)
  }
  if (heads % result.keyValueHeads !== 0) {
    throw new Error(
      `${file}: num_attention_heads (${heads}) must be a multiple of num_key_value_heads (${result.keyValueHeads})`,
    )
  }
  return result
}

function ropeConfig(fields: z.output<typeof llamaFields>, file: string): RopeConfig {
  const scaling = fields.rope_parameters ?? fields.rope_scaling ?? {}
  const theta = scaling.rope_theta ?? fields.rope_theta ?? 10000
  const type = scaling.rope_type ?? scaling.type ?? 'default'
  const need = (
    name: 'factor' | 'low_freq_factor' | 'high_freq_factor' | 'original_max_position_embeddings',
  ): number => {
    const value = scaling[name]
    if (value === undefined) throw new Error(`${file}: rope scaling '${type}' needs ${name}`)
    return value
  }
  switch (type) {
    case 'default':
      return { theta, scaling: { type } }
    case 'linear':
      return { theta, scaling: { type, factor: need('factor') } }
    case 'llama3':
      return {
        theta,
        scaling: {
          type,
          factor: need('factor'),
          lowFrequencyFactor: need('low_freq_factor'),
          highFrequencyFactor: need('high_freq_factor'),
          originalMaxPositions: need('original_max_position_embeddings'),
        },
      }
    default:
      throw new Error(`${file}: rope scaling '${type}' is not supported; supported: default, linear, llama3`)
  }
}
