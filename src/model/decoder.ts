import { op } from '../tensor/operators.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import { type Attention, type Segment, segmentAttention } from './attention.ts'
import type { ModelConfig } from './config.ts'
import { linear, type Parameters, rmsNorm, swiglu, weight } from './layers.ts'
import { Rope, rotate } from './rope.ts'

export type { Parameters } from './layers.ts'

/** A packed stream of tokens: rows one after the other, without padding. */
export interface TokenStream {
  /** Token ids and their positions in their own rows, each [tokens]. */
  tokens: Int32Array
  positions: Int32Array
  segments: readonly Segment[]
}

/** Where in a stream the loss is taken: parallel arrays, one entry a completion token. */
export interface Targets {
  /** Index of the token whose hidden state predicts the target. */
  targetPositions: Int32Array
  /** Token ids predicted. */
  targets: Int32Array
  /** Row that the target belongs to, 0 ... rows - 1. */
  targetRow: Int32Array
}

/** A decoder-only transformer of the Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU. */
export class Decoder {
  readonly config: ModelConfig
  /** What is trained and saved: float32, or the type it was loaded in where it is frozen. */
  readonly parameters: Parameters
  readonly #rope: Rope

  constructor(config: ModelConfig, parameters: Parameters) {
    this.config = config
    this.parameters = parameters
    this.#rope = new Rope(config.rope, config.headSize)
  }

  /**
   * The weights that a pass computes with: matrices in the compute type, the rest as they are. Cast once, and used for all passes of a
   * step; gradients flow through the cast and add up in the parameters, in their own precision.
   */
  computeWeights(compute: Dtype): Parameters {
    const weights: Parameters = new Map()
    for (const [name, parameter] of this.parameters)
      weights.set(name, isMatrix(name) ? parameter.to(compute) : parameter)
    if (this.config.tiedHead) weights.set(headName, this.parameters.get(embeddingName)!.to(compute))
    return weights
  }

  /** Hidden states after the last norm, [tokens, hiddenSize] float32. `weights` from computeWeights(). */
  hidden(
    weights: Parameters,
    stream: { tokens: Tensor; positions: Tensor; highestPosition: number },
    attention: Attention,
  ): Tensor {
    const rope = this.#rope.at(stream.positions, stream.highestPosition)
    let x = op.embedding(weight(weights, embeddingName), stream.tokens).to('float32')
    for (let layer = 0; layer < this.config.layers; layer++) x = this.#block(weights, layer, x, rope, attention)
    return rmsNorm(x, weight(weights, 'model.norm.weight'), this.config.normEpsilon)
  }

  /** Log-probability of each target token, [targets] float32. Logits exist only a chunk of targets at a time. */
  tokenLogps(weights: Parameters, stream: TokenStream & Targets): Tensor {
    const x = this.hidden(weights, streamTensors(stream), segmentAttention(stream.segments))
    const head = weight(weights, headName)
    const states = op.embedding(x, int64(stream.targetPositions)).to(head.dtype)
    return op.tokenLogps(states, head, int64(stream.targets), this.#logitRows())
  }

  /** Sum of each row's target log-probabilities, [rows] float32. */
  completionLogps(weights: Parameters, stream: TokenStream & Targets, rows: number): Tensor {
    const logps = this.tokenLogps(weights, stream)
    return op.indexAdd(op.zeros([rows], 'float32'), 0, int64(stream.targetRow), logps)
  }

  /** Logits over the vocabulary, float32 [states, vocabulary]; for sampling and tests. */
  logits(weights: Parameters, states: Tensor): Tensor {
    const head = weight(weights, headName)
    return op.linear(states.to(head.dtype), head).to('float32')
  }

  #block(
    weights: Parameters,
    layer: number,
    x: Tensor,
    rope: { cos: Tensor; sin: Tensor },
    attention: Attention,
  ): Tensor {
    const prefix = `model.layers.${layer}.`
    const attended = this.#attention(
      weights,
      layer,
      rmsNorm(x, weight(weights, `${prefix}input_layernorm.weight`), this.config.normEpsilon),
      rope,
      attention,
    )
    const middle = x.add(attended)
    return middle.add(
      this.#feedForward(
        weights,
        layer,
        rmsNorm(middle, weight(weights, `${prefix}post_attention_layernorm.weight`), this.config.normEpsilon),
      ),
    )
  }

  #attention(
    weights: Parameters,
    layer: number,
    x: Tensor,
    rope: { cos: Tensor; sin: Tensor },
    attention: Attention,
  ): Tensor {
    const { heads, keyValueHeads, headSize } = this.config
    const prefix = `model.layers.${layer}.self_attn.`
    const input = x.to(weight(weights, `${prefix}q_proj.weight`).dtype)
    const project = (name: string, count: number) =>
      linear(weights, `${prefix}${name}_proj`, input).view(-1, count, headSize)
    const queries = rotate(project('q', heads), rope).to(input.dtype)
    const keys = rotate(project('k', keyValueHeads), rope).to(input.dtype)
    return linear(weights, `${prefix}o_proj`, attention(layer, queries, keys, project('v', keyValueHeads)))
  }

  #feedForward(weights: Parameters, layer: number, x: Tensor): Tensor {
    const prefix = `model.layers.${layer}.mlp.`
    const input = x.to(weight(weights, `${prefix}gate_proj.weight`).dtype)
    const inner = swiglu(linear(weights, `${prefix}gate_proj`, input), linear(weights, `${prefix}up_proj`, input))
    return linear(weights, `${prefix}down_proj`, inner)
  }

  /** Targets whose logits exist at once: about 32 MB of them in float32. */
  #logitRows(): number {
    return Math.max(16, Math.floor(8_000_000 / this.config.vocabularySize))
  }

  dispose(): void {
    for (const parameter of this.parameters.values()) parameter.dispose()
    this.#rope.dispose()
  }
}

export const embeddingName = 'model.embed_tokens.weight'
export const headName = 'lm_head.weight'

function isMatrix(name: string): boolean {
  return name === headName || name.includes('_proj.')
}

function int64(values: Int32Array): Tensor {
  return Tensor.from(values, [values.length], 'int64')
}

/** A stream's tokens and positions as tensors. */
export function streamTensors({ tokens, positions }: Pick<TokenStream, 'tokens' | 'positions'>) {
  const highestPosition = positions.reduce((most, position) => Math.max(most, position), 0)
  return { tokens: int64(tokens), positions: int64(positions), highestPosition }
}
