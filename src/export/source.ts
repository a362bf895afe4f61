import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HubHooks } from '../hub/download.ts'
import { disposeAdapter } from '../model/adapters/adapter.ts'
import { isAdapterFolder, loadAdapter } from '../model/adapters/folder.ts'
import { mergeAdapter } from '../model/adapters/merge.ts'
import { parseModelConfig } from '../model/architectures/read.ts'
import { type ModelContents, type ModelFolder, saveModelFolder } from '../model/folder.ts'
import { companionsOf, modelShapes, openSource, tokenizerFolder } from '../model/open.ts'
import { OptionError } from '../options/validate.ts'
import type { LazyTensor } from '../tensor/safetensors.ts'

/** A model whose weights need no adapter, each made when its turn comes. */
export interface WholeModel extends Pick<ModelFolder, 'config' | 'rawConfig' | 'dtype'> {
  /** Where it came from, for its name. */
  path: string
  /** The folder of its tokenizer. */
  tokenizer: string
  tensors: ReadonlyMap<string, LazyTensor>
  companions: { path: string; names: readonly string[] }
}

/** What a run directory holds as its result; any other folder as it is. */
export function resultOf(folder: string): string {
  if (!existsSync(join(folder, 'config.yaml'))) return folder
  const result = ['model', 'adapter'].map((name) => join(folder, name)).find((path) => existsSync(path))
  if (result) return result
  throw new OptionError(`--model ${folder}: the run is not complete; continue with prospect train --resume ${folder}`)
}

/** Opens a model, or an adapter with its base merged, for as long as `work` takes. */
export async function withWholeModel<R>(
  given: string,
  base: string | undefined,
  hooks: HubHooks,
  work: (model: WholeModel) => R | Promise<R>,
): Promise<R> {
  const source = await openSource(given, { base }, hooks)
  const { folder } = source
  const shared = {
    path: given,
    tokenizer: tokenizerFolder(source),
    companions: companionsOf(source),
    dtype: folder.dtype,
  }
  if (!source.adapter)
    return await work({ ...shared, config: folder.config, rawConfig: folder.rawConfig, tensors: folder.tensors })
  const shapes = modelShapes(folder.config)
  const adapter = loadAdapter(source.adapter, shapes)
  try {
    const { tensors, untied } = mergeAdapter(folder.tensors, adapter, shapes)
    const rawConfig = untied ? { ...folder.rawConfig, tie_word_embeddings: false } : folder.rawConfig
    return await work({
      ...shared,
      config: parseModelConfig(rawConfig, join(folder.path, 'config.json')),
      rawConfig,
      tensors,
    })
  } finally {
    disposeAdapter(adapter)
  }
}

/** Writes an adapter and its base as one model folder. */
export async function saveMerged(
  given: string,
  output: string,
  base: string | undefined,
  hooks: HubHooks,
): Promise<string> {
  if (!isAdapterFolder(given)) throw new OptionError(`--merge: ${given} is no adapter; it is whole as it is`)
  return await withWholeModel(given, base, hooks, async (model) => {
    const piece = hooks.progress?.start(model.tensors.size, 'merging weights')
    let done = 0
    const counted = ({ dtype, shape, load }: LazyTensor): LazyTensor => ({
      dtype,
      shape,
      load: () => {
        piece?.update(++done)
        return load()
      },
    })
    try {
      await saveModelFolder(output, contentsOf(model, given, counted))
    } finally {
      piece?.stop()
    }
    return output
  })
}

function contentsOf(
  { rawConfig, tensors, companions, dtype }: WholeModel,
  given: string,
  change: (tensor: LazyTensor) => LazyTensor,
): ModelContents {
  const card = join(given, 'README.md')
  return {
    source: { path: companions.path, rawConfig, companions: companions.names },
    parameters: new Map(Array.from(tensors, ([name, tensor]) => [name, change(tensor)])),
    dtype,
    ...(existsSync(card) && { card: mergedCard(readFileSync(card, 'utf8')) }),
  }
}

/** The adapter's card is the merged model's, but for the library that reads it. */
function mergedCard(card: string): string {
  return card.replace(/^library_name: peft$/m, 'library_name: transformers')
}
