import { existsSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { loadTokenizer } from '../data/tokenizer.ts'
import type { HubHooks } from '../hub/download.ts'
import { localModel } from '../hub/inputs.ts'
import { hubNameOfFolder } from '../hub/names.ts'
import { pushFolder } from '../hub/push.ts'
import { type ModelFolder, openModelFolder } from '../model/folder.ts'
import { OptionError } from '../options/validate.ts'
import { type StoredType, storedTypes, type Value, writeGguf } from './gguf-file.ts'
import { ggufNotes, modelMetadata, modelTensors } from './gguf-model.ts'
import { tokenizerMetadata } from './gguf-tokenizer.ts'
import type { ResolvedExportOptions } from './options.ts'

/** What was made. */
export interface Exported {
  /** The file that was written. */
  path: string | null
  /** The commit of an upload. */
  url: string | null
}

/** Writes a GGUF file, or uploads. Throws OptionError where the options ask for nothing, or for what cannot be. */
export async function exportModel(options: ResolvedExportOptions, hooks: HubHooks = {}): Promise<Exported> {
  checkOptions(options)
  const given = resultOf(await localModel(options.model, hooks))
  const path = options.gguf === undefined ? null : await writeGgufFile(given, options, hooks)
  const url = options.push === undefined ? null : await push(given, options, hooks)
  return { path, url }
}

function checkOptions({ gguf, push, output }: ResolvedExportOptions): void {
  if (gguf === undefined && push === undefined)
    throw new OptionError('nothing to do: give --gguf <type> or --push <name>')
  if (gguf !== undefined && push !== undefined)
    throw new OptionError('--gguf and --push: one at a time; --push uploads the model, not the file')
  if (gguf !== undefined && output === undefined) throw new OptionError('--output is needed: the file to write')
  if (gguf !== undefined && existsSync(output!) && statSync(output!).isDirectory())
    throw new OptionError(`--output ${output}: a folder; name the file, as in ${join(output!, 'model.gguf')}`)
}

/** What a run directory holds as its result; any other folder as it is. */
function resultOf(folder: string): string {
  if (!existsSync(join(folder, 'config.yaml'))) return folder
  const result = ['model', 'adapter'].map((name) => join(folder, name)).find((path) => existsSync(path))
  if (result) return result
  throw new OptionError(`--model ${folder}: the run is not complete; continue with prospect train --resume ${folder}`)
}

async function writeGgufFile(
  given: string,
  { gguf, output }: ResolvedExportOptions,
  { progress }: HubHooks,
): Promise<string> {
  const source = openModelFolder(given)
  const type = gguf!
  const { metadata, notes } = ggufMetadata(source, type)
  const tensors = modelTensors(source.config, source.tensors, type)
  for (const note of [...ggufNotes(source.config), ...notes]) progress?.log(`note: ${note}`)
  const piece = progress?.start(tensors.length, 'writing tensors')
  try {
    writeGguf(output!, metadata, tensors, (done) => piece?.update(done))
  } finally {
    piece?.stop()
  }
  return output!
}

/** All of the file's metadata: general, hyperparameters, tokenizer. */
export function ggufMetadata(
  source: Pick<ModelFolder, 'path' | 'config'>,
  type: StoredType,
): { metadata: Map<string, Value>; notes: string[] } {
  const tokenizer = loadTokenizer(source.path)
  const { metadata: tokens, notes } = tokenizerMetadata(source.path, tokenizer, source.config.vocabularySize)
  const name = modelName(source)
  const general = new Map<string, Value>([
    ['general.type', { type: 'string', value: 'model' }],
    ['general.name', { type: 'string', value: name }],
    ['general.file_type', { type: 'u32', value: storedTypes[type].fileType }],
    ['general.quantization_version', { type: 'u32', value: 2 }],
  ])
  return { metadata: new Map([...modelMetadata(source.config), ...general, ...tokens]), notes }
}

/** llama.cpp lets Phi-3's tokens swallow the white space behind them where the name says that it is one. */
function modelName({ path, config }: Pick<ModelFolder, 'path' | 'config'>): string {
  const name = hubNameOfFolder(path)?.repository ?? basename(resolve(path))
  return config.modelType === 'phi3' && !/phi-?3/.test(name) ? `${name} (phi-3)` : name
}

async function push(
  given: string,
  { push: name, private: hidden }: ResolvedExportOptions,
  hooks: HubHooks,
): Promise<string> {
  return await pushFolder(given, name!, { private: hidden }, hooks)
}
