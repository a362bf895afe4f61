import { type Architecture, commonFields, llamaLike, sameEverywhere } from './fields.ts'

/** arXiv 2310.06825: Llama with a sliding window in every layer, or without one. */
export const mistral: Architecture = {
  models: 'Mistral, Zephyr',
  read(raw) {
    const fields = commonFields.parse(raw)
    const config = llamaLike('mistral', fields, { maxPositions: 131072, keyValueHeads: 8 })
    const window = fields.sliding_window === undefined ? 4096 : fields.sliding_window
    return { ...config, attention: sameEverywhere(config.layers, window), biases: noBiases }
  },
}

const noBiases = { queryKeyValue: false, attentionOutput: false, feedForward: false }
