import fc from 'fast-check'
import { type Adapter, createAdapter } from '../../src/model/adapters/adapter.ts'
import { defaultAdapterConfig } from '../../src/model/adapters/config.ts'
import { architectures } from '../../src/model/architectures/index.ts'
import { parseModelConfig } from '../../src/model/config.ts'
import { Decoder } from '../../src/model/decoder.ts'
import { modelShapes } from '../../src/model/open.ts'
import { initialParameters } from '../../src/model/parameters.ts'
import { op } from '../../src/tensor/operators.ts'
import { Generator } from '../../src/tensor/random.ts'
import { scope } from '../../src/tensor/scope.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'

export const vocabularySize = 40

/** What config.json may say of a tiny model of any architecture. Windows are shorter than the rows of tests. */
export interface Shape {
  modelType: string
  groups: number
  shared: number
  headSize: number
  tied: boolean
  window: number | null
  biased: boolean
  otherForm: boolean
}

const layers = 2
/** Where the configuration says which layers have a window: the first. */
const kinds = ['sliding_attention', 'full_attention']
const own: Record<string, (shape: Shape) => Record<string, unknown>> = {
  llama: ({ biased }) => ({ attention_bias: biased, mlp_bias: biased }),
  mistral: ({ window }) => ({ sliding_window: window }),
  qwen2: windowed,
  qwen3: (shape) => ({ ...windowed(shape), attention_bias: shape.biased }),
  smollm3: (shape) => ({ ...windowed(shape), no_rope_layers: [1, 0] }),
  gpt_neox: ({ biased, otherForm, groups, shared }) => ({
    attention_bias: biased,
    use_parallel_residual: !otherForm,
    rotary_pct: otherForm ? 1 : 0.5,
    num_key_value_heads: groups * shared,
  }),
  gemma: () => ({}),
  gemma2: ({ window }) => ({
    sliding_window: window ?? 4096,
    layer_types: kinds,
    query_pre_attn_scalar: 11,
    attn_logit_softcapping: 3,
    final_logit_softcapping: 6,
  }),
  gemma3_text: ({ window }) => ({ sliding_window: window ?? 4096, layer_types: kinds, query_pre_attn_scalar: 11 }),
  phi3: ({ window, otherForm }) => ({
    sliding_window: window,
    partial_rotary_factor: otherForm ? 0.5 : 1,
  }),
  olmo2: ({ biased }) => ({ attention_bias: biased }),
}

function windowed({ window }: Shape) {
  if (window === null) return { use_sliding_window: false }
  return { use_sliding_window: true, sliding_window: window, layer_types: kinds }
}

/** Shapes of tiny models of one `model_type`. */
export function shapesOf(modelType: string): fc.Arbitrary<Shape> {
  return fc.record({
    modelType: fc.constant(modelType),
    groups: fc.constantFrom(1, 2),
    shared: fc.constantFrom(1, 3),
    headSize: fc.constantFrom(8, 16),
    tied: fc.boolean(),
    window: fc.constantFrom(null, 3, 9),
    biased: fc.boolean(),
    otherForm: fc.boolean(),
  })
}

/** A tiny model with random weights, of which also norms' scales and biases are not what they start as. */
export function randomDecoder(shape: Shape, seed: number): Decoder {
  const { modelType, groups, shared, headSize, tied } = shape
  const heads = groups * shared
  const raw = {
    model_type: modelType,
    vocab_size: vocabularySize,
    hidden_size: heads * headSize,
    intermediate_size: 40,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: groups,
    head_dim: headSize,
    max_position_embeddings: 128,
    tie_word_embeddings: tied,
    pad_token_id: null, // its embedding would be 0, and norms of it very steep
    initializer_range: 0.7 / Math.sqrt(heads * headSize), // products keep about the size of what they are of
    ...own[modelType]!(shape),
  }
  const config = parseModelConfig(raw, `${modelType} of a test`)
  const parameters = initialParameters(config, seed)
  for (const parameter of parameters.values()) if (parameter.shape.length === 1) disturb(parameter, seed)
  return new Decoder(config, parameters)
}

/** An adapter of the decoder's whose parts are all random, so that all have gradients. */
export function randomAdapter(decoder: Decoder, type: 'lora' | 'dora', seed: number): Adapter {
  const config = { ...defaultAdapterConfig, type, rank: 3, alpha: 6 }
  const { parameters, device } = decoder
  const adapter = createAdapter(config, modelShapes(decoder.config), seed, (name) => parameters.get(name)!, device)
  for (const [name, part] of adapter.parameters) if (name.includes('lora_B')) disturb(part, seed)
  return adapter
}

function disturb(parameter: Tensor, seed: number): void {
  scope(() => {
    op.addInPlace(
      parameter,
      op.normal(op.empty(parameter.shape, 'float32'), 0, 0.2, new Generator(seed).index).on(parameter.device),
    )
  })
}

/** The model types of `architectures` that tests make models of: all. */
export const modelTypes = Object.keys(architectures)
