import { deviceMemory } from '../tensor/device.ts'
import { op } from '../tensor/operators.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import { sumsByRow } from '../tensor/sums.ts'
import { type Device, type Dtype, Tensor } from '../tensor/tensor.ts'
import { type Adapter, disposeAdapter } from './adapters/adapter.ts'
import { applyAdapter, withDropout } from './adapters/apply.ts'
import { dropoutKeys } from './adapters/dropout.ts'
import { type Attention, type LayerKeys, type Segment, segmentAttention } from './attention.ts'
import { block } from './block.ts'
import type { ModelConfig } from './config.ts'
import { embedding, norm, type Parameters, type QuantizedWeight, softCap, Weights, weight } from './layers.ts'
import { linearModules } from './parameters.ts'
import { Rope, type StreamPositions } from './rope.ts'
import type { Tape } from './tape.ts'

export type { Parameters, Weights } from './layers.ts'

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

/** What a pass that trains has on top. */
export interface TrainingPass {
  /** Keeps a block's input only, and recomputes the block in `tape.backward()`. */
  tape?: Tape
  /** Seed of the adapter's dropout masks, below 2^31: another one for each step. Without it nothing is dropped. */
  dropoutSeed?: number
}

/** What a decoder has beside configuration and parameters. */
export interface DecoderOptions {
  /** The longest row that the model is used with: see the constructor. */
  contextTokens?: number | null
  /** Trained in place of the parameters, which stay as they are. */
  adapter?: Adapter | null
  /** Which of the parameters are stored in 4 or 8 bits, by name. */
  quantized?: ReadonlyMap<string, QuantizedWeight>
  /** The decoder that the parameters belong to; this one where it is left out. */
  owner?: Decoder
}

/** A decoder-only transformer: embedding, blocks, norm and head, in the form that its configuration says. */
export class Decoder {
  readonly config: ModelConfig
  /** What is trained and saved: float32, or the type it was loaded in where it is frozen. */
  readonly parameters: Parameters
  readonly contextTokens: number | null
  /** Where the parameters are, and so where all is computed. */
  readonly device: Device
  /** Trained in place of `parameters`, where there is one. */
  readonly adapter: Adapter | null
  readonly #quantized: ReadonlyMap<string, QuantizedWeight>
  /** The decoder whose parameters these are. */
  readonly #owner: Decoder
  readonly #ropes: readonly Rope[]
  #deviceBytes: number | null = null
  readonly #matrices: ReadonlySet<string>

  /**
   * `contextTokens`: the longest row that the model is used with. Only rotary embeddings whose frequencies depend on the length of a row
   * (dynamic, longrope) ask for it: with it, a row's result does not depend on the rows beside it. Where it is null, the longest row of
   * each stream decides, as in transformers.
   */
  constructor(config: ModelConfig, parameters: Parameters, options: DecoderOptions = {}) {
    const { contextTokens = null, adapter, quantized, owner } = options
    this.config = config
    this.contextTokens = contextTokens
    this.parameters = parameters
    this.device = parameters.values().next().value?.device ?? 'cpu'
    this.adapter = adapter ?? null
    this.#quantized = quantized ?? new Map()
    this.#owner = owner ?? this
    this.#ropes = config.ropes.map((rope) => new Rope(rope))
    this.#matrices = new Set(linearModules(config).flatMap(({ name }) => [`${name}.weight`, `${name}.bias`]))
  }

  /** Name of the output head's weight in what computeWeights() gives. */
  get headName(): string {
    return headName(this.config)
  }

  /** What training changes, and checkpoints hold: the adapter's parameters, or all. */
  get trainable(): Parameters {
    return this.adapter?.parameters ?? this.parameters
  }

  /** A decoder with the same weights in memory and another adapter, or none. Its dispose() frees that adapter only. */
  withAdapter(adapter: Adapter | null): Decoder {
    const { contextTokens } = this
    const quantized = this.#quantized
    return new Decoder(this.config, this.parameters, { contextTokens, adapter, quantized, owner: this.#owner })
  }

  /**
   * The weights that a pass computes with: matrices in the compute type, the rest as they are. Cast once, and used for all passes of a
   * step; gradients add up in the parameters, in float32.
   */
  computeWeights(compute: Dtype): Weights {
    const weights = new Weights(compute)
    weights.quantized = this.#quantized
    for (const [name, parameter] of this.parameters) {
      const used = this.trainable.get(name) ?? parameter // an adapter may train some weights in full
      if (this.#matrices.has(name) && !this.#quantized.has(name)) this.#setMatrix(weights, name, used)
      else weights.set(name, used)
    }
    const { headName, config } = this
    if (config.tiedHead) {
      const head = this.trainable.get(headName) ?? weight(this.parameters, embeddingName(config))
      this.#setMatrix(weights, headName, head)
    }
    if (this.adapter) applyAdapter(weights, this.adapter, compute)
    return weights
  }

  /** In the compute type; a copy of a trained matrix without a gradient of its own, which would be rounded to that type too. */
  #setMatrix(weights: Weights, name: string, parameter: Tensor): void {
    const { compute } = weights
    const copied = parameter.dtype !== compute && parameter.shape.length === 2 && parameter.requiresGrad
    if (!copied || this.adapter) {
      weights.set(name, parameter.to(compute)) // an adapter's operators may read a matrix in other ways than by a product
      return
    }
    weights.masters.set(name, parameter)
    weights.set(
      name,
      noGrad(() => parameter.to(compute)),
    )
  }

  /** Frees what computeWeights() made; with `block`, only what that block has of it, and with null, what no block has. */
  disposeWeights(weights: Weights, block?: number | null): void {
    const kept = new Set([...this.parameters.values(), ...this.trainable.values()])
    const { layers } = this.config.names
    for (const [name, tensor] of weights) {
      const of = name.startsWith(layers) ? Number.parseInt(name.slice(layers.length), 10) : null
      if (!kept.has(tensor) && (block === undefined || block === of)) tensor.dispose()
    }
  }

  /** Hidden states after the last norm, [tokens, hiddenSize] float32. `weights` from computeWeights(). */
  hidden(weights: Weights, stream: StreamPositions & { tokens: Tensor }, attention: Attention, tape?: Tape): Tensor {
    const { config } = this
    const rotations = this.#ropes.map((rope) => rope.at(stream, this.contextTokens))
    const compute = weight(weights, this.headName).dtype
    const context = { config, weights, rotations, attention, compute }
    let x = this.#embed(weights, stream.tokens)
    for (let layer = 0; layer < config.layers; layer++) {
      const compute = (x: Tensor) => block(x, layer, context)
      const input = x
      x = tape ? tape.stage(input, compute) : scope(() => compute(input)) // what a block made goes where no backward pass needs it
      if (!tape) input.dispose() // and so does what it read
    }
    if (tape) x = tape.finish(x)
    return norm(weights, config.names.finalNorm, x, config.norm, 'float32')
  }

  /** [tokens, hiddenSize] float32 */
  #embed(weights: Weights, tokens: Tensor): Tensor {
    const { names, embeddingScale } = this.config
    const x = embedding(weights, names.embedding, tokens).to('float32')
    if (embeddingScale === 1) return x
    return x.mul(roundedTo(weight(weights, embeddingName(this.config)).dtype, embeddingScale))
  }

  /** Log-probability of each target token, [targets] float32. Logits exist only a chunk of targets at a time. */
  tokenLogps(weights: Weights, stream: TokenStream & Targets, training?: TrainingPass): Tensor {
    return this.tokenOutputs(weights, stream, training).logps
  }

  /** The same, and the states after the last norm that they are predicted from, [targets, hiddenSize] float32. */
  tokenOutputs(
    weights: Weights,
    stream: TokenStream & Targets,
    { tape, dropoutSeed }: TrainingPass = {},
  ): { logps: Tensor; states: Tensor } {
    const { device } = this
    const used =
      dropoutSeed === undefined ? weights : withDropout(weights, () => dropoutKeys(stream, dropoutSeed, device))
    const x = this.hidden(used, streamTensors(stream, device), segmentAttention(stream.segments, stream), tape)
    const positions = int64(stream.targetPositions, device)
    const states = op.embedding(x, positions)
    const adapted = this.#adaptedHead(used, states, positions)
    const cap = this.config.logitSoftCap ?? 0
    const rows = this.#logitRows(adapted.head.dtype, stream.targets.length)
    const master = used.masters.get(this.headName) ?? null
    const logps = op.tokenLogps(adapted.states, adapted.head, int64(stream.targets, device), rows, cap, master)
    return { logps, states }
  }

  /** Sum of each row's target log-probabilities, [rows] float32. */
  completionLogps(weights: Weights, stream: TokenStream & Targets, rows: number, training?: TrainingPass): Tensor {
    return sumsByRow(this.tokenLogps(weights, stream, training), stream.targetRow, rows)
  }

  /** Logits over the vocabulary, float32 [states, vocabulary]; for sampling and tests. */
  logits(weights: Weights, states: Tensor): Tensor {
    const adapted = this.#adaptedHead(weights, states)
    const master = weights.masters.get(this.headName) ?? null
    return softCap(op.linear(adapted.states, adapted.head, null, master).to('float32'), this.config.logitSoftCap)
  }

  /** Inputs and weight of the head's product, as an adapter changes them. */
  #adaptedHead(weights: Weights, states: Tensor, positions: Tensor | null = null) {
    const head = weight(weights, this.headName)
    const cast = states.to(head.dtype)
    return weights.adapter?.head(weights, this.config.names.head, cast, head, positions) ?? { states: cast, head }
  }

  /** Targets whose logits exist at once, of so many: fewer would add up the head's gradient more often, which is slower. */
  #logitRows(dtype: Dtype, targets: number): number {
    const room = Math.floor(this.#logitBytes() / (dtype === 'bfloat16' ? 2 : 4) / this.config.vocabularySize)
    const parts = Math.max(1, Math.ceil(targets / Math.max(16, room)))
    return Math.max(16, Math.ceil(targets / parts)) // even ones: a small rest would cost as much as a whole one
  }

  /** 128 MB, or a 256th of a GPU's memory where that is more, up to 512 MB; with what is computed from them, 4 times as much. */
  #logitBytes(): number {
    if (this.device === 'cpu') return 2 ** 27
    this.#deviceBytes ??= deviceMemory(this.device)?.total ?? 0
    return Math.min(2 ** 29, Math.max(2 ** 27, this.#deviceBytes / 256))
  }

  dispose(): void {
    if (this.#owner === this) for (const parameter of this.parameters.values()) parameter.dispose()
    if (this.adapter) disposeAdapter(this.adapter)
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

function int64(values: Int32Array, device: Device): Tensor {
  return Tensor.from(values, [values.length], 'int64', device)
}

/** A stream's tokens and positions as tensors on a decoder's device. */
export function streamTensors(
  { tokens, positions }: Pick<TokenStream, 'tokens' | 'positions'>,
  device: Device = 'cpu',
) {
  const highestPosition = positions.reduce((most, position) => Math.max(most, position), 0)
  return { tokens: int64(tokens, device), positions: int64(positions, device), highestPosition }
}
