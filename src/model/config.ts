import type { RopeConfig } from './frequencies.ts'

export { parseModelConfig } from './architectures/read.ts'

/** What tells one decoder from another, read from `config.json` by the entry of its architecture (architectures/). Plain data. */
export interface ModelConfig {
  /** `model_type` of config.json. */
  modelType: string
  vocabularySize: number
  hiddenSize: number
  intermediateSize: number
  layers: number
  heads: number
  keyValueHeads: number
  headSize: number
  maxPositions: number
  norm: NormConfig
  activation: Activation
  /** Attention and feed-forward both read the block's input, and their outputs are added to it together (GPT-J's form). */
  parallelResidual: boolean
  /** Queries and keys are normed a head at a time, or all heads of a token together. */
  queryKeyNorm: 'by-head' | 'whole'
  /** What queries are multiplied by; headSize^-0.5 but in Gemma. */
  queryScale: number
  /** Attention scores become c tanh(score / c); null: they stay. */
  attentionSoftCap: number | null
  /** The same for the logits over the vocabulary. */
  logitSoftCap: number | null
  /** What embeddings are multiplied by, after it is rounded to the type of the embedding. */
  embeddingScale: number
  /** The output head is the input embedding. */
  tiedHead: boolean
  biases: { queryKeyValue: boolean; attentionOutput: boolean; feedForward: boolean }
  /** The kinds of rotary embedding that layers use. */
  ropes: readonly RopeConfig[]
  /** Each layer's window (a token sees so many tokens, itself among them; null: all before it) and which of `ropes` it uses. */
  attention: readonly LayerAttention[]
  names: WeightNames
  /** Standard deviation of fresh weights. */
  initializerRange: number
  /** The embedding whose fresh weights are 0. */
  paddingToken: number | null
}

export interface NormConfig {
  /** RMSNorm, or LayerNorm with mean and bias. */
  kind: 'rms' | 'layer'
  epsilon: number
  /** The scale is offset + weight: 1 in Gemma, whose weights begin at 0; else 0. */
  offset: 0 | 1
}

export type Activation = 'silu' | 'gelu' | 'gelu_tanh' | 'relu'

export interface LayerAttention {
  window: number | null
  /** null: queries and keys are not turned. */
  rope: number | null
}

/**
 * Names of the modules, as Hugging Face has them: those are the names of parameters everywhere. What a block lacks is null. Names in
 * `block` come after `layers`, the layer's number and a dot.
 */
export interface WeightNames {
  embedding: string
  finalNorm: string
  head: string
  layers: string
  block: {
    /** Norms of what attention reads and gives, and of what the feed-forward reads and gives. */
    attentionNorm: string | null
    attentionOutputNorm: string | null
    feedForwardNorm: string | null
    feedForwardOutputNorm: string | null
    queryKeyValue: QueryKeyValue
    /** Norms of queries and keys, before they are turned; `queryKeyNorm` says over what. */
    queryNorm: string | null
    keyNorm: string | null
    attentionOutput: string
    feedForward: FeedForward
  }
}

/**
 * One linear module each, or one that gives all three: side by side (queries, keys, values), or head by head (a head's query, key and value
 * side by side, then the next head's).
 */
export type QueryKeyValue =
  | { layout: 'separate'; query: string; key: string; value: string }
  | { layout: 'stacked' | 'by-head'; fused: string }

/** down(activation(gate x) * up x), gate and up in two modules or side by side in one; or down(activation(up x)). */
export type FeedForward =
  | { layout: 'gated'; gate: string; up: string; down: string }
  | { layout: 'gated-fused'; gateUp: string; down: string }
  | { layout: 'plain'; up: string; down: string }
