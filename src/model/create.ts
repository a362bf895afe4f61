import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeSafetensors } from '../tensor/safetensors.ts'
import { parseModelConfig } from './config.ts'
import { initialParameters } from './parameters.ts'

/** Gives a folder that has a config.json (and a tokenizer) fresh float32 weights: a model to be trained from scratch. */
export function writeInitialWeights(folder: string, seed: number): void {
  const file = join(folder, 'config.json')
  const config = parseModelConfig(JSON.parse(readFileSync(file, 'utf8')), file)
  const parameters = initialParameters(config, seed)
  try {
    writeSafetensors(join(folder, 'model.safetensors'), parameters, { format: 'pt' })
  } finally {
    for (const parameter of parameters.values()) parameter.dispose()
  }
}
