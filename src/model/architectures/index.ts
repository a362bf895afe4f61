import type { Architecture } from './fields.ts'
import { gemma1, gemma2, gemma3Text } from './gemma.ts'
import { gptNeox } from './gpt-neox.ts'
import { llama } from './llama.ts'
import { mistral } from './mistral.ts'
import { olmo2 } from './olmo.ts'
import { phi3 } from './phi3.ts'
import { qwen2, qwen3 } from './qwen.ts'
import { smollm3 } from './smollm3.ts'

export type { Architecture } from './fields.ts'

/** By `model_type` of config.json. */
export const architectures: Readonly<Record<string, Architecture>> = {
  gemma: gemma1,
  gemma2,
  gemma3_text: gemma3Text,
  gpt_neox: gptNeox,
  llama,
  mistral,
  olmo2,
  phi3,
  qwen2,
  qwen3,
  smollm3,
}
