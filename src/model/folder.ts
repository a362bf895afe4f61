import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { replaceDirectory } from '../tensor/atomic.ts'
import {
  describeTensors,
  type LazyTensor,
  readSafetensors,
  type TensorEntry,
  writeSafetensors,
} from '../tensor/safetensors.ts'
import type { Dtype, Tensor } from '../tensor/tensor.ts'
import { parseModelConfig } from './architectures/read.ts'
import type { ModelConfig } from './config.ts'
import type { Parameters } from './decoder.ts'

const configFile = 'config.json'
const singleFile = 'model.safetensors'
const indexFile = 'model.safetensors.index.json'
/** Files that travel with a model: what tokenises, samples and documents it, but not its weights. */
const companionPattern =
  /^(tokenizer.*|generation_config\.json|chat_template\.(jinja|json)|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|LICENSE.*|NOTICE.*|USE_POLICY.*)$/
const picklePattern = /\.(bin|pth|pt|ckpt)$/

/** A Hugging Face model folder; weights are mapped, and read when they are used. */
export interface ModelFolder {
  path: string
  config: ModelConfig
  /** config.json as it is. */
  rawConfig: Record<string, unknown>
  tensors: ReadonlyMap<string, TensorEntry>
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
  const rawConfig = readJson(file)
  const config = parseModelConfig(rawConfig, file)
  const { tensors, weightFiles } = openWeights(path)
  const companions = readdirSync(path).filter((name) => companionPattern.test(name) && isFile(join(path, name)))
  return { path, config, rawConfig, tensors, dtype: mainDtype(tensors), companions, weightFiles }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
}

function hubHint(path: string): string {
  if (!/^\w[\w.-]*\/[\w.-]+$/.test(path)) return ''
  const folder = basename(path)
  return `; if it is the name of a model on the hub, download it first and give the folder: hf download ${path} --local-dir ${folder}`
}

type Weights = Pick<ModelFolder, 'tensors' | 'weightFiles'>

/** Where both kinds are there, the single file counts, as in transformers. */
function openWeights(path: string): Weights {
  if (existsSync(join(path, singleFile)))
    return { tensors: readSafetensors(join(path, singleFile)).tensors, weightFiles: [singleFile] }
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
  const map = weightMap(join(path, indexFile))
  const weightFiles = [...new Set(Object.values(map))].sort()
  const missing = weightFiles.filter((shard) => !existsSync(join(path, shard)))
  if (missing.length > 0)
    throw new Error(`${path}: ${indexFile} names ${missing.join(', ')}, missing here: download again`)
  const shards = new Map(weightFiles.map((shard) => [shard, readSafetensors(join(path, shard)).tensors]))
  const tensors = Object.entries(map).map(([name, shard]): [string, TensorEntry] => {
    const entry = shards.get(shard)!.get(name)
    if (!entry) throw new Error(`${join(path, shard)}: ${name} is missing, but ${indexFile} places it there`)
    return [name, entry]
  })
  return { tensors: new Map(tensors), weightFiles }
}

/** Which shard each tensor is in. */
function weightMap(file: string): Record<string, string> {
  const map = readJson(file).weight_map
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

function readJson(file: string): Record<string, unknown> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`)
  }
}

export interface ModelContents {
  /** Where config.json and the companions come from. */
  source: Pick<ModelFolder, 'path' | 'rawConfig' | 'companions'>
  parameters: Parameters
  /** Type that weights are stored in. */
  dtype: Dtype
  /** README.md */
  card?: string
  /** chat_template.jinja, where it is not the source's own. */
  chatTemplate?: string
  /** A larger model is cut into shards; 5 GB, as Hugging Face does. */
  maxShardBytes?: number
}

/** Writes a model as a Hugging Face folder, whole or not at all. */
export async function saveModelFolder(path: string, contents: ModelContents): Promise<void> {
  await replaceDirectory(path, (temporary) => writeModelFiles(temporary, contents))
}

/** Writes a model's files into a folder that exists. */
export function writeModelFiles(folder: string, contents: ModelContents): void {
  const { source, parameters, dtype, card, chatTemplate, maxShardBytes = 5e9 } = contents
  for (const name of source.companions) copyFileSync(join(source.path, name), join(folder, name)) // links are followed
  const dtypeKey = 'dtype' in source.rawConfig ? 'dtype' : 'torch_dtype' // transformers 5 and 4
  writeFileSync(join(folder, configFile), `${JSON.stringify({ ...source.rawConfig, [dtypeKey]: dtype }, null, 2)}\n`)
  if (chatTemplate !== undefined) writeFileSync(join(folder, 'chat_template.jinja'), chatTemplate)
  if (card !== undefined) writeFileSync(join(folder, 'README.md'), card)
  const entries = describeTensors(
    folder,
    Array.from(parameters, ([name, tensor]) => [name, storedAs(tensor, dtype)]),
  )
  writeWeights(folder, entries, maxShardBytes)
}

/** The tensor in the type it is stored in, made when its turn comes. */
function storedAs(tensor: Tensor, dtype: Dtype): LazyTensor {
  return { dtype, shape: tensor.shape, load: () => tensor.detach().to(dtype) }
}

function writeWeights(folder: string, entries: readonly TensorEntry[], maxShardBytes: number): void {
  const shards = cutIntoShards(entries, maxShardBytes)
  const names = shards.map((_, i) =>
    shards.length === 1 ? singleFile : `model-${fiveDigits(i + 1)}-of-${fiveDigits(shards.length)}.safetensors`,
  )
  for (const [i, shard] of shards.entries()) {
    const tensors = shard.map((entry) => [entry.name, entry] as const)
    writeSafetensors(join(folder, names[i]!), tensors, { format: 'pt' }) // transformers 4 refuses files without it
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
