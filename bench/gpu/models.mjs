// Folders of models with random weights, of the shapes of settings.mjs.
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { benchFolder, writeTokenizer } from '../kto/inputs.mjs'
import { configOf } from './settings.mjs'

/** The folder of a model of this shape, made at the first call with the PyTorch of this Python. Throws where that fails. */
export function modelOf(shape, python) {
  const folder = join(benchFolder, 'gpu-models', shape)
  if (existsSync(join(folder, 'model.safetensors'))) return folder
  const config = configOf(shape)
  writeTokenizer(folder, config.vocab_size)
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config, null, 2))
  const script = join(import.meta.dirname, 'make_model.py')
  const { status, stderr, error } = spawnSync(python, [script, folder], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`the model of shape ${shape} cannot be made: ${error?.message ?? stderr}`)
  return folder
}
