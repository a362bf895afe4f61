import { createHash } from 'node:crypto'
import { cpSync, createReadStream, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { replaceDirectory } from '../tensor/atomic.ts'
import { op } from '../tensor/operators.ts'
import { describeTensors, readSafetensors, type TensorEntry, writeSafetensors } from '../tensor/safetensors.ts'
import type { Dtype, Tensor } from '../tensor/tensor.ts'
import { type ModelConfig, parseModelConfig } from './config.ts'
import type { Parameters } from './decoder.ts'

const configFile = 'config.json'
const singleFile = 'model.safetensors'
const indexFile = 'model.safetensors.index.json'
/** Files that travel with a model: what tokenises, samples and documents it, but not its weights. */
const companionPattern =
  /^(tokenizer.*|generation_config\.json|chat_template\.(jinja|json)|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|LICENSE.*)$/
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
  const weightFiles = findWeightFiles(path)
  const tensors = new Map(weightFiles.flatMap((name) => [...readSafetensors(join(path, name)).tensors]))
  checkIndex(path, tensors)
  const companions = readdirSync(path).filter((name) => companionPattern.test(name) && name !== indexFile)
  return { path, config, rawConfig, tensors, dtype: mainDtype(tensors), companions, weightFiles }
}

function hubHint(path: string): string {
  if (!/^[\w.-]+\/[\w.-]+$/.test(path)) return ''
  return `; where it is the name of a model on the hub, download it first: hf download ${path} --local-dir ${basename(path)}`
}

function findWeightFiles(path: string): string[] {
  if (existsSync(join(path, indexFile))) {
    const shards = [...new Set(Object.values(weightMap(path)))].sort()
    const missing = shards.filter((shard) => !existsSync(join(path, shard)))
    if (missing.length > 0)
      throw new Error(`${path}: ${indexFile} names ${missing.join(', ')}, missing here: download again`)
    return shards
  }
  if (existsSync(join(path, singleFile))) return [singleFile]
  const pickled = readdirSync(path).filter((name) => picklePattern.test(name))
  if (pickled.length === 0) throw new Error(`${path}: no weights: neither ${singleFile} nor ${indexFile}`)
  throw new Error(
    `${path}: the weights are pickle files (${pickled[0]}), which can run any code when they are opened, so they are not read. ` +
      `Convert them where you trust them: python -c "from transformers import AutoModelForCausalLM as M; ` +
      `M.from_pretrained('${path}').save_pretrained('${path}', safe_serialization=True)"`,
  )
}

function weightMap(path: string): Record<string, string> {
  const map = readJson(join(path, indexFile)).weight_map
  if (typeof map !== 'object' || map === null) throw new Error(`${join(path, indexFile)}: it has no weight_map`)
  return map as Record<string, string>
}

function checkIndex(path: string, tensors: ReadonlyMap<string, TensorEntry>): void {
  if (!existsSync(join(path, indexFile))) return
  for (const [name, shard] of Object.entries(weightMap(path))) {
    if (!tensors.has(name))
      throw new Error(`${join(path, shard)}: ${name} is missing, but ${indexFile} places it there`)
  }
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
  /** A larger model is cut into shards; 5 GB, as Hugging Face does. */
  maxShardBytes?: number
}

/** Writes a model as a Hugging Face folder, whole or not at all. */
export async function saveModelFolder(path: string, contents: ModelContents): Promise<void> {
  await replaceDirectory(path, (temporary) => writeModelFiles(temporary, contents))
}

/** Writes a model's files into a folder that exists. */
export function writeModelFiles(folder: string, contents: ModelContents): void {
  const { source, parameters, dtype, card, maxShardBytes = 5e9 } = contents
  for (const name of source.companions) cpSync(join(source.path, name), join(folder, name))
  const dtypeKey = 'dtype' in source.rawConfig ? 'dtype' : 'torch_dtype' // transformers 5 and 4
  writeFileSync(join(folder, configFile), `${JSON.stringify({ ...source.rawConfig, [dtypeKey]: dtype }, null, 2)}\n`)
  if (card !== undefined) writeFileSync(join(folder, 'README.md'), card)
  const entries = [...parameters].map(([name, tensor]) => [name, storedAs(tensor, dtype)] as const)
  const shards = cutIntoShards(folder, entries, maxShardBytes)
  if (shards.length === 1) {
    writeSafetensors(join(folder, singleFile), shards[0]!, { format: 'pt' })
    return
  }
  const map: Record<string, string> = {}
  for (const [i, shard] of shards.entries()) {
    const number = (value: number) => String(value).padStart(5, '0')
    const name = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`
    writeSafetensors(join(folder, name), shard, { format: 'pt' })
    for (const [tensor] of shard) map[tensor] = name
  }
  const total = describeTensors(folder, entries).reduce((sum, { bytes }) => sum + bytes, 0)
  writeFileSync(
    join(folder, indexFile),
    `${JSON.stringify({ metadata: { total_size: total }, weight_map: map }, null, 2)}\n`,
  )
}

/** The tensor in the type it is stored in, made when its turn comes. */
function storedAs(tensor: Tensor, dtype: Dtype) {
  return {
    dtype,
    shape: tensor.shape,
    load: () => (tensor.dtype === dtype ? tensor : op.toDtype(tensor.detach(), dtype)),
  }
}

type Entry = readonly [string, ReturnType<typeof storedAs>]

function cutIntoShards(folder: string, entries: readonly Entry[], maxBytes: number): Entry[][] {
  const shards: Entry[][] = [[]]
  let bytes = 0
  for (const [i, described] of describeTensors(folder, entries).entries()) {
    if (bytes + described.bytes > maxBytes && shards.at(-1)!.length > 0) {
      shards.push([])
      bytes = 0
    }
    shards.at(-1)!.push(entries[i]!)
    bytes += described.bytes
  }
  return shards
}

/** SHA-256 over configuration and weights: equal where the model computes the same. */
export async function weightsHash({ path, rawConfig, weightFiles }: ModelFolder): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(rawConfig))
  for (const name of weightFiles) {
    for await (const chunk of createReadStream(join(path, name), { highWaterMark: 1 << 22 }))
      hash.update(chunk as Buffer)
  }
  return hash.digest('hex')
}
