import { z } from 'zod'
import type { ModelConfig } from '../config.ts'
import { type Architecture, architectures } from './index.ts'

/** Fields by which configs say that a layer chooses among experts. */
const expertFields = ['num_local_experts', 'num_experts', 'n_routed_experts', 'moe_num_experts']

/**
 * Reads a Hugging Face `config.json`, in the spelling of transformers 4 or 5. `file` is named in errors.
 * Throws where the architecture is not supported or a field is missing or out of range.
 */
export function parseModelConfig(config: unknown, file: string): ModelConfig {
  const raw = asRecord(config, file)
  const { read } = architectureOf(raw, file)
  if (raw.quantization_config)
    throw new Error(`${file}: the weights are quantized (quantization_config); train the model they were made from`)
  try {
    return read(raw)
  } catch (error) {
    throw new Error(`${file}: ${problemOf(error)}`, { cause: error })
  }
}

/** The entry of the table for a config.json. Throws saying what is supported where there is none. */
export function architectureOf(raw: Record<string, unknown>, file: string): Architecture {
  const type = raw.model_type
  const found = typeof type === 'string' && Object.hasOwn(architectures, type) ? architectures[type] : undefined
  const experts = expertFields.find((field) => Number(raw[field]) > 1)
  if (experts !== undefined || (typeof type === 'string' && /moe|mixtral/i.test(type))) {
    const count = experts === undefined ? '' : ` (${experts}: ${raw[experts]})`
    throw new Error(
      `${file}: model_type ${JSON.stringify(type)} is a mixture of experts${count}, which is not supported: take a dense model`,
    )
  }
  if (found) return found
  const hint = type === 'gemma3' ? '. It sees images as well: only the text-only Gemma 3 (gemma3_text) is read' : ''
  const list = Object.keys(architectures).join(', ')
  throw new Error(`${file}: model_type is ${JSON.stringify(type)}; supported: ${list}${hint}`)
}

function asRecord(config: unknown, file: string): Record<string, unknown> {
  if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config as Record<string, unknown>
  throw new Error(`${file}: expected a JSON object with the model's fields`)
}

function problemOf(error: unknown): string {
  if (!(error instanceof z.ZodError)) return (error as Error).message
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')
}
