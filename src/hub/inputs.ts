import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { downloadSnapshot, type HubHooks } from './download.ts'
import { HubError } from './errors.ts'
import { type HubName, nameText, parseHubName } from './names.ts'

/**
 * The folder of a model: the given one, or, where there is none and the text is a name as `org/name` or `org/name@revision`, the hub's, brought
 * into the cache first. Only safetensors are fetched.
 */
export async function localModel(text: string, hooks: HubHooks = {}): Promise<string> {
  const name = existsSync(text) ? null : parseHubName(text, 'model')
  if (!name) return text
  const { folder } = await downloadSnapshot(name, (paths) => modelFiles(name, paths), hooks)
  return name.path === null ? folder : join(folder, name.path)
}

/**
 * Data files: those that exist or are no names of data sets stay as they are; `org/name`, `org/name@revision` and `org/name:path` become the
 * files of a data set on the hub, those for training where it says which.
 */
export async function localData(texts: readonly string[], hooks: HubHooks = {}): Promise<string[]> {
  const files: string[] = []
  for (const text of texts) {
    const isFile = existsSync(text) || /^https?:|[*?[]/.test(text) || dataPattern.test(text.split(':')[0]!)
    const name = isFile ? null : parseHubName(text, 'dataset')
    if (!name) {
      files.push(text)
      continue
    }
    const snapshot = await downloadSnapshot(name, (paths) => dataFiles(name, paths), hooks)
    files.push(...snapshot.files.map((path) => join(snapshot.folder, path)))
  }
  return files
}

const dataPattern = /\.(jsonl|ndjson|json|csv|tsv|parquet)(\.(gz|gzip|zst|zstd))?$/
const companionPattern =
  /^(config\.json|generation_config\.json|tokenizer.*\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|chat_template\.(jinja|json)|additional_chat_templates\/.*\.jinja|adapter_config\.json|README\.md|LICENSE.*|NOTICE.*|USE_POLICY.*)$/
const weightsPattern = /^(model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|adapter_model\.safetensors)$/
const picklePattern = /\.(bin|pth|pt|ckpt|pkl)$/

/** What loads and documents a model; the weights in other formats, and other copies of them, are left out. */
function modelFiles(name: HubName, paths: readonly string[]): string[] {
  const folder = name.path === null ? '' : `${name.path}/`
  const inFolder = paths.filter((path) => path.startsWith(folder))
  const matching = (pattern: RegExp) => inFolder.filter((path) => pattern.test(path.slice(folder.length)))
  const weights = matching(weightsPattern)
  if (weights.length === 0) {
    const pickled = inFolder.find((path) => picklePattern.test(path))
    const why = pickled
      ? `only pickle files (${pickled}), which can run any code when they are opened, so they are not fetched; ask its authors for safetensors`
      : 'no model.safetensors'
    throw new HubError(`${nameText(name)} has ${why}`, null)
  }
  return [...matching(companionPattern), ...weights]
}

/** Rows for training: `:path` where it is given; else files that say `train` in their path, where some do; else all. */
function dataFiles(name: HubName, paths: readonly string[]): string[] {
  const under = (path: string) => name.path === null || path === name.path || path.startsWith(`${name.path}/`)
  const readable = paths.filter((path) => dataPattern.test(path) && under(path)).sort()
  if (readable.length === 0) {
    const where = name.path === null ? '' : ` at ${name.path}`
    throw new HubError(
      `${nameText(name)} has no .jsonl, .json, .csv or .parquet files${where}; it has ${paths.slice(0, 10).join(', ')}`,
      null,
    )
  }
  const training = readable.filter((path) => /(^|[/_.-])train([/_.-]|$)/.test(path))
  return name.path === null && training.length > 0 ? training : readable
}
