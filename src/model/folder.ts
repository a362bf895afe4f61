import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join, sep } from 'node:path'
import { replaceDirectory } from '../tensor/atomic.ts'
import {
  describeTensors,
  type LazyTensor,
  readSafetensors,
  type StoredTensor,
  type TensorEntry,
  type WriteTensors,
  writeSafetensors,
} from '../tensor/safetensors.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import type { Architecture } from './architectures/index.ts'
import { architectureOf, parseModelConfig } from './architectures/read.ts'
import type { ModelConfig } from './config.ts'
import { stringifyLike } from './config-text.ts'

const configFile = 'config.json'
const singleFile = 'model.safetensors'
const indexFile = 'model.safetensors.index.json'
/** Templates beside the main one, as transformers keeps them. */
const templateFolder = 'additional_chat_templates'
/** Files that travel with a model: what tokenises, samples and documents it, but not its weights. */
const companionPattern =
  /^(tokenizer.*|generation_config\.json|chat_template\.(jinja|json)|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|LICENSE.*|NOTICE.*|USE_POLICY.*)$/
/** A plain file name: an index must not lead out of its folder. */
const shardPattern = /^[^/\\\0]+\.safetensors$/
const longestJson = 100_000_000
const picklePattern = /\.(bin|pth|pt|ckpt)$/

/** A Hugging Face model folder; weights are mapped, and read when they are used. */
export interface ModelFolder {
  path: string
  config: ModelConfig
  /** config.json as it is, and its text. */
  rawConfig: Record<string, unknown>
  configText: string
  /** By the names that they have in Prospect. */
  tensors: ReadonlyMap<string, StoredTensor>
  /** Of those whose name in the files is another: Prospect's name to the file's. */
  storedNames: ReadonlyMap<string, string>
  /** The type most of the weights are stored in. */
  dtype: Dtype
  /** Names of the tokenizer's and other files that belong to the model. */
  companions: readonly string[]
  /** Names of the files with weights. */
  weightFiles: readonly string[]
}

/** Opens a folder with config.json and safetensors, single or sharded. Throws saying what is missing and how to get it. */
export function openModelFolder(path: string): ModelFolder {
  if (!existsSync(path)) throw new Error(`${path}: no such folder${hubHint(path)}`)
  if (!statSync(path).isDirectory()) throw new Error(`${path}: a file; give the folder that it is in`)
  const file = join(path, configFile)
  if (!existsSync(file)) throw new Error(`${path}: no model folder: it has no ${configFile}`)
  ownFile(path, configFile)
  const configText = readText(file)
  const rawConfig = parsedJson(file, configText)
  const config = parseModelConfig(rawConfig, file)
  const { tensors: stored, weightFiles } = openWeights(path)
  const { tensors, storedNames } = knownNames(stored, architectureOf(rawConfig, file), path)
  return {
    path,
    config,
    rawConfig,
    configText,
    tensors,
    storedNames,
    dtype: mainDtype(tensors),
    companions: companionsIn(path),
    weightFiles,
  }
}

/** Names of the files of a folder that travel with a model: what tokenises, samples and documents it. */
export function companionsIn(path: string): string[] {
  const inside = (folder: string) => {
    const names = isFolder(join(path, folder)) ? readdirSync(join(path, folder)) : []
    return names.filter((name) => name.endsWith('.jinja')).map((name) => join(folder, name))
  }
  const names = readdirSync(path).filter((name) => companionPattern.test(name))
  const companions = [...names, ...inside(templateFolder)].filter((name) => isFile(join(path, name)))
  for (const name of companions) ownFile(path, name)
  return companions
}

/** Copies a file that travels with a model; links are followed. */
export function copyCompanion(from: string, to: string, name: string): void {
  mkdirSync(dirname(join(to, name)), { recursive: true })
  copyFileSync(join(from, name), join(to, name))
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
}

/**
 * Path of a file of the folder. A link may lead to elsewhere in the folder, or to the blobs beside it in the hub's cache, but not to other
 * files of this machine: a downloaded folder could make us read them, and publish them with what we save.
 */
function ownFile(folder: string, name: string): string {
  const path = join(folder, name)
  const home = realpathSync(folder)
  const target = targetOf(path)
  const roots = basename(dirname(home)) === 'snapshots' ? [home, join(home, '../../blobs')] : [home]
  if (roots.some((root) => target.startsWith(root + sep))) return path
  throw new Error(`${path}: a link that leads out of the folder, to ${target}: put the file itself in its place`)
}

function targetOf(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`)
  }
}

/** Puts other spellings of names right, and remembers them for saving. */
function knownNames(stored: ReadonlyMap<string, StoredTensor>, { aliases = [] }: Architecture, path: string) {
  const tensors = new Map<string, StoredTensor>()
  const storedNames = new Map<string, string>()
  for (const [storedName, entry] of stored) {
    const name = aliases.reduce((name, [pattern, replacement]) => name.replace(pattern, replacement), storedName)
    if (tensors.has(name))
      throw new Error(`${path}: ${storedNames.get(name) ?? name} and ${storedName} are the same weight`)
    if (name !== storedName) storedNames.set(name, storedName)
    tensors.set(name, entry)
  }
  return { tensors, storedNames }
}

function hubHint(path: string): string {
  if (!/^\w[\w.-]*\/[\w.-]+$/.test(path)) return ''
  return `; where it is a name on the hub, a command that is given it fetches it, as in prospect train --model ${path}`
}

type Weights = Pick<ModelFolder, 'tensors' | 'weightFiles'>

/** Where both kinds are there, the single file counts, as in transformers. */
function openWeights(path: string): Weights {
  if (existsSync(join(path, singleFile)))
    return { tensors: readSafetensors(ownFile(path, singleFile)).tensors, weightFiles: [singleFile] }
  if (existsSync(join(path, indexFile))) return openShards(path)
  const pickled = readdirSync(path).find((name) => picklePattern.test(name))
  if (!pickled) throw new Error(`${path}: no weights: neither ${singleFile} nor ${indexFile}`)
  throw new Error(
    `${path}: the weights are pickle files (${pickled}), which can run any code when they are opened, so they are not read. ` +
      `Convert them where you trust them: python -c "from transformers import AutoModelForCausalLM as M; ` +
      `M.from_pretrained('${path}').save_pretrained('${path}', safe_serialization=True)"`,
  )
}

function openShards(path: string): Weights {
  const index = ownFile(path, indexFile)
  const map = weightMap(index)
  const weightFiles = [...new Set(Object.values(map))].sort()
  const strange = weightFiles.find((shard) => !shardPattern.test(shard))
  if (strange !== undefined) {
    throw new Error(
      `${index}: weight_map names ${JSON.stringify(strange)}, which is no name of a safetensors file in this folder`,
    )
  }
  const missing = weightFiles.filter((shard) => !existsSync(join(path, shard)))
  if (missing.length > 0)
    throw new Error(`${path}: ${indexFile} names ${missing.join(', ')}, missing here: download again`)
  const shards = new Map(weightFiles.map((shard) => [shard, readSafetensors(ownFile(path, shard)).tensors]))
  const tensors = Object.entries(map).map(([name, shard]): [string, StoredTensor] => {
    const entry = shards.get(shard)!.get(name)
    if (!entry) throw new Error(`${join(path, shard)}: ${name} is missing, but ${indexFile} places it there`)
    return [name, entry]
  })
  return { tensors: new Map(tensors), weightFiles }
}

/** Which shard each tensor is in. */
function weightMap(file: string): Record<string, string> {
  const map = parsedJson(file, readText(file)).weight_map
  const usable =
    typeof map === 'object' && map !== null && Object.values(map).every((shard) => typeof shard === 'string')
  if (!usable) throw new Error(`${file}: weight_map must give the file of each tensor`)
  return map as Record<string, string>
}

function mainDtype(tensors: ReadonlyMap<string, TensorEntry>): Dtype {
  const bytes = new Map<Dtype, number>()
  for (const entry of tensors.values()) bytes.set(entry.dtype, (bytes.get(entry.dtype) ?? 0) + entry.bytes)
  return [...bytes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'float32'
}

function readText(file: string): string {
  const { size } = statSync(file)
  if (size > longestJson) throw new Error(`${file}: ${size} bytes, at most ${longestJson} are read`)
  return readFileSync(file, 'utf8')
}

function parsedJson(file: string, text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
    throw new Error('expected a JSON object')
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`)
  }
}

export interface ModelContents {
  /** Where config.json and the companions come from. */
  source: Pick<ModelFolder, 'path' | 'rawConfig' | 'companions'> &
    Partial<Pick<ModelFolder, 'configText' | 'storedNames' | 'tensors' | 'dtype'>>
  /** Live weights, or ones that are made when their turn comes and keep their own type. */
  parameters: ReadonlyMap<string, Tensor | LazyTensor>
  /** Type that live weights are stored in. Where it is the source's, tensors that the source stores in another keep that one. */
  dtype: Dtype
  /** README.md */
  card?: string
  /** chat_template.jinja, where it is not the source's own. */
  chatTemplate?: string
  /** Entries of generation_config.json beside the source's own. */
  generation?: Readonly<Record<string, unknown>> | undefined
  /** A larger model is cut into shards; 5 GB, as Hugging Face does. */
  maxShardBytes?: number
}

/** Writes a model as a Hugging Face folder, whole or not at all. */
export async function saveModelFolder(path: string, contents: ModelContents): Promise<void> {
  await replaceDirectory(path, (temporary) => writeModelFiles(temporary, contents))
}

/** Writes a model's files into a folder that exists, those with weights by `write`. */
export function writeModelFiles(folder: string, contents: ModelContents, write: WriteTensors = writeSafetensors): void {
  const { source, parameters, dtype, card, chatTemplate, generation, maxShardBytes = 5e9 } = contents
  for (const name of source.companions) copyCompanion(source.path, folder, name)
  const dtypeKey = 'dtype' in source.rawConfig ? 'dtype' : 'torch_dtype' // transformers 5 and 4
  const config = { ...source.rawConfig, [dtypeKey]: dtype }
  writeFileSync(join(folder, configFile), `${stringifyLike(config, source.configText ?? '')}\n`)
  if (chatTemplate !== undefined) writeFileSync(join(folder, 'chat_template.jinja'), chatTemplate)
  if (generation !== undefined) addToGenerationConfig(folder, generation)
  if (card !== undefined) writeFileSync(join(folder, 'README.md'), card)
  const entries = describeTensors(
    folder,
    Array.from(parameters, ([name, tensor]) => {
      const own = dtype === source.dtype ? source.tensors?.get(name)?.dtype : undefined
      const stored = tensor instanceof Tensor ? storedAs(tensor, own ?? dtype) : tensor
      return [source.storedNames?.get(name) ?? name, stored]
    }),
  )
  writeWeights(folder, entries, maxShardBytes, write)
}

export function addToGenerationConfig(folder: string, entries: Readonly<Record<string, unknown>>): void {
  const file = join(folder, 'generation_config.json')
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as object) : {}
  writeFileSync(file, `${JSON.stringify({ ...before, ...entries }, null, 2)}\n`)
}

/** The tensor in the type it is stored in, made when its turn comes. */
function storedAs(tensor: Tensor, dtype: Dtype): LazyTensor {
  return { dtype, shape: tensor.shape, load: () => tensor.detach().to(dtype) }
}

function writeWeights(
  folder: string,
  entries: readonly TensorEntry[],
  maxShardBytes: number,
  write: WriteTensors,
): void {
  const shards = cutIntoShards(entries, maxShardBytes)
  const names = shards.map((_, i) =>
    shards.length === 1 ? singleFile : `model-${fiveDigits(i + 1)}-of-${fiveDigits(shards.length)}.safetensors`,
  )
  for (const [i, shard] of shards.entries()) {
    const tensors = shard.map((entry) => [entry.name, entry] as const)
    write(join(folder, names[i]!), tensors, { format: 'pt' }) // transformers 4 refuses files without it
  }
  if (shards.length === 1) return
  const weight_map = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]!])))
  const metadata = { total_size: entries.reduce((sum, { bytes }) => sum + bytes, 0) }
  writeFileSync(join(folder, indexFile), `${JSON.stringify({ metadata, weight_map }, null, 2)}\n`)
}

function fiveDigits(value: number): string {
  return String(value).padStart(5, '0')
}

/** Runs of tensors of at most `maxBytes`; a tensor that is larger goes alone. */
function cutIntoShards(entries: readonly TensorEntry[], maxBytes: number): TensorEntry[][] {
  const shards: TensorEntry[][] = [[]]
  let room = maxBytes
  for (const entry of entries) {
    if (entry.bytes > room && shards.at(-1)!.length > 0) {
      shards.push([])
      room = maxBytes
    }
    shards.at(-1)!.push(entry)
    room -= entry.bytes
  }
  return shards
}
