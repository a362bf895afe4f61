import { op } from '../tensor/operators.ts'
import { Generator } from '../tensor/random.ts'
import { noGrad, outsideScopes, scope } from '../tensor/scope.ts'
import type { Dtype, Tensor } from '../tensor/tensor.ts'
import type { ModelConfig } from './config.ts'
import { embeddingName, headName, type Parameters } from './decoder.ts'

/** Name and shape of every weight of a model, in the order they are saved. A tied head is not among them. */
export function parameterShapes(config: ModelConfig): Map<string, number[]> {
  const { hiddenSize: width, intermediateSize: inner, headSize } = config
  const queryWidth = config.heads * headSize
  const keyWidth = config.keyValueHeads * headSize
  const shapes = new Map<string, number[]>([[embeddingName, [config.vocabularySize, width]]])
  const matrix = (name: string, rows: number, columns: number, bias: boolean) => {
    shapes.set(`${name}.weight`, [rows, columns])
    if (bias) shapes.set(`${name}.bias`, [rows])
  }
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}.`
    shapes.set(`${prefix}input_layernorm.weight`, [width])
    matrix(`${prefix}self_attn.q_proj`, queryWidth, width, config.attentionBias)
    matrix(`${prefix}self_attn.k_proj`, keyWidth, width, config.attentionBias)
    matrix(`${prefix}self_attn.v_proj`, keyWidth, width, config.attentionBias)
    matrix(`${prefix}self_attn.o_proj`, width, queryWidth, config.attentionBias)
    shapes.set(`${prefix}post_attention_layernorm.weight`, [width])
    matrix(`${prefix}mlp.gate_proj`, inner, width, config.mlpBias)
    matrix(`${prefix}mlp.up_proj`, inner, width, config.mlpBias)
    matrix(`${prefix}mlp.down_proj`, width, inner, config.mlpBias)
  }
  shapes.set('model.norm.weight', [width])
  if (!config.tiedHead) shapes.set(headName, [config.vocabularySize, width])
  return shapes
}

/** Fresh float32 weights as transformers makes them: normal with the configured deviation, norms 1, biases 0. */
export function initialParameters(config: ModelConfig, seed: number): Parameters {
  const generator = new Generator(seed)
  const parameters: Parameters = new Map()
  outsideScopes(() => {
    for (const [name, shape] of parameterShapes(config)) {
      const filled = scope(() => {
        if (name.endsWith('norm.weight')) return op.ones(shape, 'float32')
        if (name.endsWith('.bias')) return op.zeros(shape, 'float32')
        return op.normal(op.empty(shape, 'float32'), 0, config.initializerRange, generator.index)
      })
      parameters.set(name, filled)
    }
  })
  return parameters
}

interface StoredTensor {
  shape: readonly number[]
  load(): Tensor
}

/**
 * A model's weights out of a folder's tensors, each in memory of its own. Throws naming every tensor that is missing, misshapen or left over
 * (rotary tables, which old checkpoints store, and the copy of a tied head are passed over).
 */
export function loadParameters(
  config: ModelConfig,
  stored: ReadonlyMap<string, StoredTensor>,
  dtype: Dtype,
  folder: string,
): Parameters {
  const wanted = parameterShapes(config)
  const problems: string[] = []
  for (const [name, shape] of wanted) {
    const found = stored.get(name)
    if (!found) problems.push(`${name} is missing`)
    else if (found.shape.join() !== shape.join())
      problems.push(`${name} is [${found.shape.join(', ')}], expected [${shape.join(', ')}]`)
  }
  for (const name of stored.keys()) {
    if (!wanted.has(name) && !name.endsWith('rotary_emb.inv_freq') && !(name === headName && config.tiedHead))
      problems.push(`${name} is not known`)
  }
  if (problems.length > 0)
    throw new Error(`${folder}: the weights do not fit config.json: ${problems.slice(0, 8).join('; ')}`)
  const parameters: Parameters = new Map()
  outsideScopes(() => {
    for (const name of wanted.keys()) {
      parameters.set(
        name,
        noGrad(() => scope(() => op.toDtype(stored.get(name)!.load(), dtype, false, true))),
      )
    }
  })
  return parameters
}
