import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { HubHooks } from '../hub/download.ts'
import { localModel } from '../hub/inputs.ts'
import { type AdapterFolder, adapterHash, baseOf, isAdapterFolder, openAdapterFolder } from './adapters/folder.ts'
import type { ModelShapes } from './adapters/targets.ts'
import type { ModelConfig } from './config.ts'
import { embeddingName, headName } from './decoder.ts'
import { companionsIn, type ModelFolder, openModelFolder } from './folder.ts'
import { parameterShapes } from './parameters.ts'
import { weightsHash } from './weights-hash.ts'

/** A model as a user names it: a model's folder, or an adapter's together with the model that it was made for. */
export interface ModelSource {
  folder: ModelFolder
  adapter: AdapterFolder | null
}

/**
 * Opens a model's or an adapter's folder. `base`: the base model, where adapter_config.json does not say it rightly; `adapter`: an adapter to put
 * on the model. Throws saying what is missing.
 */
export function openModel(
  path: string,
  { base, adapter }: { base?: string | undefined; adapter?: string | undefined } = {},
): ModelSource {
  if (adapter !== undefined) return { folder: openModelFolder(path), adapter: openAdapterFolder(adapter) }
  if (!isAdapterFolder(path)) {
    if (base !== undefined) throw new Error(`${path}: no adapter, so it has no base model (--base ${base})`)
    return { folder: openModelFolder(path), adapter: null }
  }
  const folder = openAdapterFolder(path)
  const basePath = base ?? baseOf(folder)
  try {
    return { folder: openModelFolder(basePath), adapter: folder }
  } catch (error) {
    const hint = base === undefined ? '; name the base model of the adapter with --base' : ''
    throw new Error(`${path}: its base model: ${(error as Error).message}${hint}`, { cause: error })
  }
}

/** The same for what may be on the hub: the model, or the base of an adapter. */
export async function openSource(
  model: string,
  { base, adapter }: { base?: string | undefined; adapter?: string | undefined },
  hooks: HubHooks = {},
): Promise<ModelSource> {
  const path = await localModel(model, hooks)
  if (adapter !== undefined) return openModel(path, { adapter: await localModel(adapter, hooks) })
  return openModel(path, { base: await localBase(path, base, hooks) })
}

/** The base to give to openModel(): what the user names, or what an adapter names where that is on the hub. */
export async function localBase(model: string, base: string | undefined, hooks: HubHooks): Promise<string | undefined> {
  if (base !== undefined) return localModel(base, hooks)
  if (!isAdapterFolder(model)) return undefined
  const named = baseOf(openAdapterFolder(model))
  const local = existsSync(named) ? named : await localModel(named, hooks)
  return local === named ? undefined : local
}

/** The folder whose tokenizer and chat template count: an adapter's own, where it has one. */
export function tokenizerFolder({ folder, adapter }: ModelSource): string {
  return adapter && existsSync(join(adapter.path, 'tokenizer.json')) ? adapter.path : folder.path
}

/** Files that travel with what is made of the model. */
export function companionsOf(source: ModelSource): { path: string; names: readonly string[] } {
  const path = tokenizerFolder(source)
  return { path, names: companionsIn(path) }
}

/** What an adapter needs to know of a model. */
export function modelShapes(config: ModelConfig): ModelShapes {
  return { shapes: parameterShapes(config), embedding: embeddingName(config), head: headName(config) }
}

/** Equal where the model computes the same. */
export async function sourceHash(
  { folder, adapter }: ModelSource,
  cache?: string,
  hooks: HubHooks = {},
): Promise<string> {
  const base = await weightsHash(folder, cache, hooks)
  if (!adapter) return base
  return createHash('sha256')
    .update(base)
    .update(await adapterHash(adapter))
    .digest('hex')
}
