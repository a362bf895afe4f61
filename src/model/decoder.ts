import { op } from '../tensor/operators.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import { type Attention, type LayerKeys, type Segment, segmentAttention } from './attention.ts'
import { block } from './block.ts'
import type { ModelConfig } from './config.ts'
import { linear, norm, type Parameters, softCap, weight } from './layers.ts'
import { linearModules } from './parameters.ts'
import { Rope, type StreamPositions } from './rope.ts'

export type { Parameters } from './layers.ts'

/** A packed stream of tokens: rows one after the other, without padding. */
export interface TokenStream {
  /** Token ids and their positions in their own rows, each [tokens]. */
  tokens: Int32Array
  positions: Int32Array
  segments: readonly Segment[]
  /** Takes the stream's keys and values, for streams that see its tokens. */
  keep?: LayerKeys
  /** Keys and values of another stream's tokens, which foreign segments name. */
  context?: LayerKeys
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

export interface DecoderOptions {
  contextTokens?: number | null
}

/** A decoder-only transformer: embedding, blocks, norm and head, in the form that its configuration says. */
export class Decoder {
  readonly config: ModelConfig
  /** What is trained and saved: float32, or the type it was loaded in where it is frozen. */
  readonly parameters: Parameters
  readonly contextTokens: number | null
  readonly #ropes: readonly Rope[]
  readonly #matrices: ReadonlySet<string>

  /**
   * `contextTokens`: the longest row that the model is used with. Only rotary embeddings whose frequencies depend on the length of a row
   * (dynamic, longrope) ask for it: with it, a row's result does not depend on the rows beside it. Where it is null, the longest row of
   * each stream decides, as in transformers.
   */
  constructor(config: ModelConfig, parameters: Parameters, { contextTokens = null }: DecoderOptions = {}) {
    this.config = config
    this.contextTokens = contextTokens
    this.parameters = parameters
    this.#ropes = config.ropes.map((rope) => new Rope(rope))
    this.#matrices = new Set(linearModules(config).flatMap(({ name }) => [`${name}.weight`, `${name}.bias`]))
  }

  /** Name of the output head's weight in what computeWeights() gives. */
  get headName(): string {
    return headName(this.config)
  }

  /**
   * The weights that a pass computes with: matrices in the compute type, the rest as they are. Cast once, and used for all passes of a
   * step; gradients flow through the cast and add up in the parameters, in their own precision.
   */
  computeWeights(compute: Dtype): Parameters {
    const weights: Parameters = new Map()
    for (const [name, parameter] of this.parameters)
      weights.set(name, this.#matrices.has(name) ? parameter.to(compute) : parameter)
    if (this.config.tiedHead)
      weights.set(this.headName, weight(this.parameters, embeddingName(this.config)).to(compute))
    return weights
  }

  /** Hidden states after the last norm, [tokens, hiddenSize] float32. `weights` from computeWeights(). */
  hidden(weights: Parameters, stream: StreamPositions & { tokens: Tensor }, attention: Attention): Tensor {
    const { config } = this
    const rotations = this.#ropes.map((rope) => rope.at(stream, this.contextTokens))
    const compute = weight(weights, this.headName).dtype
    const context = { config, weights, rotations, attention, compute }
    let x = this.#embed(weights, stream.tokens)
    for (let layer = 0; layer < config.layers; layer++) x = block(x, layer, context)
    return norm(weights, config.names.finalNorm, x, config.norm, 'float32')
  }

  /** [tokens, hiddenSize] float32 */
  #embed(weights: Parameters, tokens: Tensor): Tensor {
    const table = weight(weights, embeddingName(this.config))
    const x = op.embedding(table, tokens).to('float32')
    const { embeddingScale } = this.config
    return embeddingScale === 1 ? x : x.mul(roundedTo(table.dtype, embeddingScale))
  }

  /** Log-probability of each target token, [targets] float32. Logits exist only a chunk of targets at a time. */
  tokenLogps(weights: Parameters, stream: TokenStream & Targets): Tensor {
    const x = this.hidden(weights, streamTensors(stream), segmentAttention(stream.segments, stream))
    const head = weight(weights, this.headName)
    const states = op.embedding(x, int64(stream.targetPositions)).to(head.dtype)
    const cap = this.config.logitSoftCap ?? 0
    return op.tokenLogps(states, head, int64(stream.targets), this.#logitRows(head.dtype), cap)
  }

  /** Sum of each row's target log-probabilities, [rows] float32. */
  completionLogps(weights: Parameters, stream: TokenStream & Targets, rows: number): Tensor {
    const logps = this.tokenLogps(weights, stream)
    return op.indexAdd(op.zeros([rows], 'float32'), 0, int64(stream.targetRow), logps)
  }

  /** Logits over the vocabulary, float32 [states, vocabulary]; for sampling and tests. */
  logits(weights: Parameters, states: Tensor): Tensor {
    return softCap(linear(weights, this.config.names.head, states).to('float32'), this.config.logitSoftCap)
  }

  /** Targets whose logits exist at once: 64 MB of them. Fewer would add up the head's gradient more often, which is slower. */
  #logitRows(dtype: Dtype): number {
    return Math.max(16, Math.floor(2 ** 26 / (dtype === 'bfloat16' ? 2 : 4) / this.config.vocabularySize))
  }

  dispose(): void {
    for (const parameter of this.parameters.values()) parameter.dispose()
    for (const rope of this.#ropes) rope.dispose()
  }
}

export function embeddingName({ names }: ModelConfig): string {
  return `${names.embedding}.weight`
}

export function headName({ names }: ModelConfig): string {
  return `${names.head}.weight`
}

/** The nearest number that the type holds. */
function roundedTo(dtype: Dtype, value: number): number {
  const tensor = Tensor.from([value])
  const rounded = tensor.to(dtype)
  const result = rounded.item()
  tensor.dispose()
  rounded.dispose()
  return result
}

function int64(values: Int32Array): Tensor {
  return Tensor.from(values, [values.length], 'int64')
}

/** A stream's tokens and positions as tensors. */
export function streamTensors({ tokens, positions }: Pick<TokenStream, 'tokens' | 'positions'>) {
  const highestPosition = positions.reduce((most, position) => Math.max(most, position), 0)
  return { tokens: int64(tokens), positions: int64(positions), highestPosition }
}
