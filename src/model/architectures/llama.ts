import { type Architecture, commonFields, llamaLike } from './fields.ts'

/** arXiv 2302.13971 (Llama), 2407.21783 (Llama 3). */
export const llama: Architecture = {
  models: 'Llama 1, 2 and 3, SmolLM, and what shares their form',
  read: (raw) => llamaLike('llama', commonFields.parse(raw), { maxPositions: 2048 }),
}
