import { shapes } from '../kto/shapes.mjs'

/** The different matrices of a model's blocks, and its head. */
export function layers(name) {
  const shape = shapes[name]
  const {
    hidden_size: width,
    intermediate_size: inner,
    num_attention_heads: heads,
    num_key_value_heads: groups,
  } = shape
  return [
    { name: 'query, output', outputs: width, inputs: width },
    { name: 'key, value', outputs: (width / heads) * groups, inputs: width },
    { name: 'gate, up', outputs: inner, inputs: width },
    { name: 'down', outputs: width, inputs: inner },
    { name: 'head', outputs: shape.vocab_size, inputs: width },
  ]
}
