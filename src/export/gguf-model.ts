import { moduleName } from '../model/block.ts'
import type { Activation, ModelConfig } from '../model/config.ts'
import { type RopeConfig, ropeFrequencies } from '../model/frequencies.ts'
import type { LazyTensor } from '../tensor/safetensors.ts'
import { Tensor } from '../tensor/tensor.ts'
import { ggufTensor } from './elements.ts'
import type { GgufTensor, StoredType, Value } from './gguf-file.ts'

/** What llama.cpp makes of a `model_type`: its name there, and what it takes for granted. */
interface Target {
  name: string
  activations: readonly Activation[]
  /** It turns neighbouring elements, not those half a head apart, so rows of queries and keys change places. */
  turnsNeighbours?: boolean
  /** It always reads a head of its own. */
  needsHead?: boolean
  /** Whether a layer has a window, where it says so itself. */
  window?: (layer: number) => boolean
}

const targets: Readonly<Record<string, Target>> = {
  llama: { name: 'llama', activations: ['silu'], turnsNeighbours: true },
  mistral: { name: 'llama', activations: ['silu'], turnsNeighbours: true },
  qwen2: { name: 'qwen2', activations: ['silu'] },
  qwen3: { name: 'qwen3', activations: ['silu'] },
  gpt_neox: { name: 'gptneox', activations: ['gelu', 'gelu_tanh'], needsHead: true },
  gemma2: { name: 'gemma2', activations: ['gelu_tanh'], window: (layer) => layer % 2 === 0 },
  gemma3_text: { name: 'gemma3', activations: ['gelu_tanh'], window: (layer) => (layer + 1) % 6 !== 0 },
  phi3: { name: 'phi3', activations: ['silu'] },
}

/** llama.cpp's name of the architecture. Throws where it has none, or computes something else than the configuration says. */
export function ggufArchitecture(config: ModelConfig): string {
  const { name, activations, window } = targetOf(config)
  const not = (what: string) => new Error(`llama.cpp's ${name} ${what}, so this model cannot be a GGUF file`)
  if (!activations.includes(config.activation))
    throw not(`has the activation ${activations.join(' or ')}, not ${config.activation}`)
  if (Math.abs(config.queryScale * Math.sqrt(config.headSize) - 1) > 1e-6)
    throw not(`scales queries by head size ^ -0.5, not by ${config.queryScale}`)
  if (window && config.attention.some((layer, i) => (layer.window !== null) !== window(i)))
    throw not('has its windows in other layers')
  return name
}

function targetOf({ modelType }: ModelConfig): Target {
  const target = Object.hasOwn(targets, modelType) ? targets[modelType] : undefined
  if (target) return target
  throw new Error(`model_type ${modelType} has no GGUF form here; supported: ${Object.keys(targets).join(', ')}`)
}

/** What a user should know of the file: where llama.cpp computes the same only under a condition. */
export function ggufNotes(config: ModelConfig): string[] {
  const notes: string[] = []
  const windows = config.attention.flatMap(({ window }) => (window === null ? [] : [window]))
  const { window: known } = targetOf(config)
  if (!known && windows.length > 0) {
    const least = Math.min(...windows)
    if (least < config.maxPositions)
      notes.push(`llama.cpp lets every layer see the whole context: up to ${least} tokens it computes the same`)
  }
  if (config.ropes.some(({ scaling }) => scaling.type === 'dynamic'))
    notes.push(`llama.cpp has no dynamic rope scaling: up to ${config.maxPositions} tokens it computes the same`)
  return notes
}

/** The hyperparameters, by their keys in the file. */
export function modelMetadata(config: ModelConfig): Map<string, Value> {
  const name = ggufArchitecture(config)
  const rope = config.ropes[0]!
  const u32 = (value: number): Value => ({ type: 'u32', value })
  const f32 = (value: number): Value => ({ type: 'f32', value })
  const window = config.attention.find((layer) => layer.window !== null)?.window
  const entries: [string, Value | null][] = [
    ['vocab_size', u32(config.vocabularySize)],
    ['context_length', u32(config.maxPositions)],
    ['embedding_length', u32(config.hiddenSize)],
    ['block_count', u32(config.layers)],
    ['feed_forward_length', u32(config.intermediateSize)],
    ['attention.head_count', u32(config.heads)],
    ['attention.head_count_kv', u32(config.keyValueHeads)],
    ['attention.key_length', u32(config.headSize)],
    ['attention.value_length', u32(config.headSize)],
    [`attention.layer_norm_${config.norm.kind === 'rms' ? 'rms_' : ''}epsilon`, f32(config.norm.epsilon)],
    ['attention.sliding_window', window && targetOf(config).name !== 'llama' ? u32(window) : null],
    ['attn_logit_softcapping', config.attentionSoftCap === null ? null : f32(config.attentionSoftCap)],
    ['final_logit_softcapping', config.logitSoftCap === null ? null : f32(config.logitSoftCap)],
    ['use_parallel_residual', config.norm.kind === 'layer' ? { type: 'bool', value: config.parallelResidual } : null],
    ['rope.dimension_count', u32(rope.size)],
    ['rope.freq_base', f32(rope.theta)],
    ['rope.freq_base_swa', config.ropes[1] ? f32(config.ropes[1].theta) : null],
    ...ropeScaling(rope),
  ]
  const all = new Map<string, Value>([['general.architecture', { type: 'string', value: name }]])
  for (const [key, value] of entries) if (value) all.set(`${name}.${key}`, value)
  return all
}

function ropeScaling({ scaling }: RopeConfig): [string, Value][] {
  const type = (value: string): [string, Value] => ['rope.scaling.type', { type: 'string', value }]
  const number = (key: string, value: number): [string, Value] => [`rope.scaling.${key}`, { type: 'f32', value }]
  const original = (value: number): [string, Value] => ['rope.scaling.original_context_length', { type: 'u32', value }]
  switch (scaling.type) {
    case 'linear':
      return [type('linear'), number('factor', scaling.factor)]
    case 'yarn': {
      const own = 1 + 0.1 * Math.log(scaling.factor) // llama.cpp multiplies by it anyway
      return [
        type('yarn'),
        number('factor', scaling.factor),
        original(scaling.originalMaxPositions),
        number('attn_factor', scaling.attentionFactor / own),
        number('yarn_beta_fast', scaling.betaFast),
        number('yarn_beta_slow', scaling.betaSlow),
      ]
    }
    case 'longrope':
      return [type('longrope'), original(scaling.originalMaxPositions), number('attn_factor', scaling.attentionFactor)]
    default: // llama3's factors are a tensor
      return []
  }
}

/** The weights by their names in the file, in the order llama.cpp writes them. */
export function modelTensors(
  config: ModelConfig,
  stored: ReadonlyMap<string, LazyTensor>,
  type: StoredType,
): GgufTensor[] {
  const { names } = config
  const target = targetOf(config)
  const parts = (name: string, module: string, change?: Change): GgufTensor[] =>
    ['weight', 'bias'].flatMap((part) => {
      const source = stored.get(`${module}.${part}`)
      return source ? [ggufTensor(`${name}.${part}`, source, type, change)] : []
    })
  const norm = (name: string, module: string | null) => (module === null ? [] : parts(name, module, normChange(config)))
  const head = config.tiedHead ? (target.needsHead ? names.embedding : null) : names.head
  return [
    ...ropeTensors(config),
    ...parts('token_embd', names.embedding),
    ...Array.from({ length: config.layers }, (_, layer) => blockTensors(config, target, layer, parts, norm)).flat(),
    ...norm('output_norm', names.finalNorm),
    ...(head === null ? [] : parts('output', head)),
  ]
}

type Change = (tensor: Tensor) => Tensor
type Parts = (name: string, module: string, change?: Change) => GgufTensor[]

function blockTensors(
  config: ModelConfig,
  target: Target,
  layer: number,
  parts: Parts,
  norm: (name: string, module: string | null) => GgufTensor[],
): GgufTensor[] {
  const { block } = config.names
  const inner = (name: string) => moduleName(config, layer, name)
  const innerOrNull = (name: string | null) => (name === null ? null : inner(name))
  const own = (name: string) => `blk.${layer}.${name}`
  return [
    ...norm(own('attn_norm'), innerOrNull(block.attentionNorm)),
    ...queryKeyValue(),
    ...norm(own('attn_q_norm'), innerOrNull(block.queryNorm)),
    ...norm(own('attn_k_norm'), innerOrNull(block.keyNorm)),
    ...parts(own('attn_output'), inner(block.attentionOutput)),
    ...norm(own('post_attention_norm'), innerOrNull(block.attentionOutputNorm)),
    ...norm(own('ffn_norm'), innerOrNull(block.feedForwardNorm)),
    ...feedForward(),
    ...norm(own('post_ffw_norm'), innerOrNull(block.feedForwardOutputNorm)),
  ]

  function queryKeyValue(): GgufTensor[] {
    const modules = block.queryKeyValue
    if (modules.layout !== 'separate') {
      const change = modules.layout === 'by-head' ? besideEachOther(config) : undefined
      return parts(own('attn_qkv'), inner(modules.fused), change)
    }
    const turned = (heads: number) => (target.turnsNeighbours ? neighbours(heads) : undefined)
    return [
      ...parts(own('attn_q'), inner(modules.query), turned(config.heads)),
      ...parts(own('attn_k'), inner(modules.key), turned(config.keyValueHeads)),
      ...parts(own('attn_v'), inner(modules.value)),
    ]
  }

  function feedForward(): GgufTensor[] {
    const modules = block.feedForward
    const down = parts(own('ffn_down'), inner(modules.down))
    if (modules.layout === 'gated-fused') return [...parts(own('ffn_up'), inner(modules.gateUp)), ...down]
    const gate = modules.layout === 'gated' ? parts(own('ffn_gate'), inner(modules.gate)) : []
    return [...gate, ...parts(own('ffn_up'), inner(modules.up)), ...down]
  }
}

/** Gemma's scale is 1 + weight; llama.cpp's is the weight. */
function normChange({ norm }: ModelConfig): Change | undefined {
  return norm.offset === 0 ? undefined : (weight) => weight.to('float32').add(norm.offset)
}

/** Rows i and i + half of each head, which turn together, become neighbours. [heads * size, ...] */
function neighbours(heads: number): Change {
  return (tensor) => {
    const [rows = 0, ...rest] = tensor.shape
    return tensor
      .view(heads, 2, rows / heads / 2, ...rest)
      .transpose(1, 2)
      .reshape(rows, ...rest)
  }
}

/** Query, key and value of each head in turn become all queries, all keys, all values. [heads * 3 * size, ...] */
function besideEachOther({ heads }: ModelConfig): Change {
  return (tensor) => {
    const [rows = 0, ...rest] = tensor.shape
    return tensor
      .view(heads, 3, rows / heads / 3, ...rest)
      .transpose(0, 1)
      .reshape(rows, ...rest)
  }
}

/** What llama.cpp divides frequencies by, where the scaling is no single number. */
function ropeTensors({ ropes }: ModelConfig): GgufTensor[] {
  const rope = ropes[0]!
  const { scaling } = rope
  const vector = (name: string, values: readonly number[]) =>
    ggufTensor(
      name,
      { dtype: 'float32', shape: [values.length], load: () => Tensor.from(values, undefined, 'float32') },
      'f32',
    )
  if (scaling.type === 'longrope')
    return [
      vector('rope_factors_long.weight', scaling.longFactors),
      vector('rope_factors_short.weight', scaling.shortFactors),
    ]
  if (scaling.type !== 'llama3') return []
  const plain = ropeFrequencies({ ...rope, scaling: { type: 'default' } }, 0)
  const scaled = ropeFrequencies(rope, 0)
  return [
    vector(
      'rope_freqs.weight',
      Array.from(plain, (frequency, i) => frequency / scaled[i]!),
    ),
  ]
}
