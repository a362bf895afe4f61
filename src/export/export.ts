import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { loadTokenizer } from '../data/tokenizer.ts'
import type { HubHooks } from '../hub/download.ts'
import { localModel } from '../hub/inputs.ts'
import { hubNameOfFolder } from '../hub/names.ts'
import { pushFolder } from '../hub/push.ts'
import { OptionError } from '../options/validate.ts'
import { type StoredType, storedTypes, type Value, writeGguf } from './gguf-file.ts'
import { ggufNotes, modelMetadata, modelTensors } from './gguf-model.ts'
import { tokenizerMetadata } from './gguf-tokenizer.ts'
import type { ResolvedExportOptions } from './options.ts'
import { resultOf, saveMerged, type WholeModel, withWholeModel } from './source.ts'

/** What was made. */
export interface Exported {
  /** The file or folder that was written. */
  path: string | null
  /** The commit of an upload. */
  url: string | null
}

/** Writes a merged model or a GGUF file, and uploads. Throws OptionError where the options ask for nothing, or for what cannot be. */
export async function exportModel(options: ResolvedExportOptions, hooks: HubHooks = {}): Promise<Exported> {
  checkOptions(options)
  const given = resultOf(await localModel(options.model, hooks))
  const { gguf, merge, output, push, base } = options
  if (gguf !== undefined) return { path: await writeGgufFile(given, gguf, output!, { ...hooks, base }), url: null }
  if (merge && output === undefined) return { path: null, url: await pushMerged(given, options, hooks) }
  const path = merge ? await saveMerged(given, output!, base, hooks) : null
  const url = push === undefined ? null : await upload(path ?? given, options, hooks)
  return { path, url }
}

function checkOptions({ gguf, merge, push, output }: ResolvedExportOptions): void {
  if (gguf === undefined && !merge && push === undefined)
    throw new OptionError('nothing to do: give --gguf <type>, --merge or --push <name>')
  if (gguf !== undefined && merge)
    throw new OptionError('--gguf and --merge: one at a time; a GGUF file always has its adapter merged in')
  if (gguf !== undefined && push !== undefined)
    throw new OptionError('--gguf and --push: one at a time; --push uploads the model, not the file')
  if (gguf !== undefined && output === undefined) throw new OptionError('--output is needed: the file to write')
  if (merge && output === undefined && push === undefined)
    throw new OptionError('--output is needed: the folder to write')
  if (gguf !== undefined && existsSync(output!) && statSync(output!).isDirectory())
    throw new OptionError(`--output ${output}: a folder; name the file, as in ${join(output!, 'model.gguf')}`)
  if (gguf !== undefined && existsSync(output!) && !output!.endsWith('.gguf'))
    throw new OptionError(`--output ${output}: there already, and by its name no GGUF file; name another`)
  if (merge && output !== undefined && existsSync(output) && !isEmptyFolder(output))
    throw new OptionError(
      `--output ${output}: there already, and all in it would be replaced; choose a folder that is empty or new`,
    )
}

function isEmptyFolder(path: string): boolean {
  return statSync(path).isDirectory() && readdirSync(path).length === 0
}

async function pushMerged(given: string, options: ResolvedExportOptions, hooks: HubHooks): Promise<string> {
  const temporary = mkdtempSync(join(tmpdir(), 'prospect-merged-'))
  try {
    return await upload(await saveMerged(given, join(temporary, 'model'), options.base, hooks), options, hooks)
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

async function upload(
  folder: string,
  { push, private: hidden }: ResolvedExportOptions,
  hooks: HubHooks,
): Promise<string> {
  return await pushFolder(folder, push!, { private: hidden }, hooks)
}

async function writeGgufFile(
  given: string,
  type: StoredType,
  output: string,
  { base, ...hooks }: HubHooks & { base: string | undefined },
): Promise<string> {
  return await withWholeModel(given, base, hooks, (model) => {
    const { metadata, notes } = ggufMetadata(model, type)
    const tensors = modelTensors(model.config, model.tensors, type)
    for (const note of [...ggufNotes(model.config), ...notes]) hooks.progress?.log(`note: ${note}`)
    const piece = hooks.progress?.start(tensors.length, 'writing tensors')
    try {
      writeGguf(output, metadata, tensors, (done) => piece?.update(done))
    } finally {
      piece?.stop()
    }
    return output
  })
}

/** All of the file's metadata: general, hyperparameters, tokenizer. */
function ggufMetadata(model: WholeModel, type: StoredType): { metadata: Map<string, Value>; notes: string[] } {
  const tokenizer = loadTokenizer(model.tokenizer)
  const { metadata: tokens, notes } = tokenizerMetadata(model.tokenizer, tokenizer, model.config.vocabularySize)
  const general = new Map<string, Value>([
    ['general.type', { type: 'string', value: 'model' }],
    ['general.name', { type: 'string', value: modelName(model) }],
    ['general.file_type', { type: 'u32', value: storedTypes[type].fileType }],
    ['general.quantization_version', { type: 'u32', value: 2 }],
  ])
  return { metadata: new Map([...modelMetadata(model.config), ...general, ...tokens]), notes }
}

/** llama.cpp lets Phi-3's tokens swallow the white space behind them where the name says that it is one. */
function modelName({ path, config }: WholeModel): string {
  const name = hubNameOfFolder(path)?.repository ?? basename(resolve(path))
  return config.modelType === 'phi3' && !/phi-?3/.test(name) ? `${name} (phi-3)` : name
}
