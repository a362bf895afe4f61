import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import { replaceDirectory } from '../../tensor/atomic.ts'
import { op } from '../../tensor/operators.ts'
import { readSafetensors, type TensorEntry, type WriteTensors, writeSafetensors } from '../../tensor/safetensors.ts'
import { noGrad, outsideScopes, scope } from '../../tensor/scope.ts'
import type { Device } from '../../tensor/tensor.ts'
import { addToGenerationConfig, copyCompanion } from '../folder.ts'
import type { Parameters } from '../layers.ts'
import { type Adapter, adapterShapes } from './adapter.ts'
import { type AdapterConfig, adapterConfigJson, parseAdapterConfig } from './config.ts'
import type { ModelShapes } from './targets.ts'

const configFile = 'adapter_config.json'
const weightsFile = 'adapter_model.safetensors'
const prefix = 'base_model.model.'

/** An adapter as PEFT stores it; weights are mapped, and read when they are used. */
export interface AdapterFolder {
  path: string
  config: AdapterConfig
  /** Fields of adapter_config.json, those not known here too. */
  rawConfig: Record<string, unknown>
  /** By the names that `Adapter.parameters` has. */
  tensors: ReadonlyMap<string, TensorEntry>
}

export function isAdapterFolder(path: string): boolean {
  return existsSync(join(path, configFile))
}

/** Opens a folder with adapter_config.json and adapter_model.safetensors. Throws saying what is missing. */
export function openAdapterFolder(path: string): AdapterFolder {
  const file = join(path, configFile)
  if (!existsSync(file)) throw new Error(`${path}: no adapter folder: it has no ${configFile}`)
  const rawConfig = readJson(file)
  const config = parseAdapterConfig(rawConfig, file)
  if (!existsSync(join(path, weightsFile))) {
    const pickled = existsSync(join(path, 'adapter_model.bin'))
    const fix = pickled ? '; adapter_model.bin is a pickle file, which is not read: save it again with safetensors' : ''
    throw new Error(`${path}: the adapter has no ${weightsFile}${fix}`)
  }
  const stored = readSafetensors(join(path, weightsFile)).tensors
  return { path, config, rawConfig, tensors: new Map([...stored].map(([name, entry]) => [innerName(name), entry])) }
}

function readJson(file: string): Record<string, unknown> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`)
  }
}

/** `base_model.model.` goes, and what PEFT wraps around a module; older versions of it store the vector of DoRA as a weight. */
function innerName(name: string): string {
  const bare = name.startsWith(prefix) ? name.slice(prefix.length) : name
  return bare
    .replace('.base_layer.bias', '.bias')
    .replace('.modules_to_save.', '.')
    .replace('.lora_magnitude_vector.weight', '.lora_magnitude_vector')
}

/** The name in PEFT's file: a bias of an adapted module is that of the layer which the adapter wraps. */
function storedName(name: string, { modules }: Adapter): string {
  const module = name.slice(0, name.lastIndexOf('.'))
  return prefix + (name.endsWith('.bias') && modules.has(module) ? `${module}.base_layer.bias` : name)
}

/** The folder or hub name of the model that an adapter was made for; a path is looked up from the adapter's folder, then from here. */
export function baseOf({ path, config }: AdapterFolder): string {
  const { base } = config
  if (base === null || base === '') {
    throw new Error(`${join(path, configFile)}: base_model_name_or_path is missing: name the base model with --base`)
  }
  const beside = resolve(path, base)
  return !isAbsolute(base) && existsSync(beside) ? beside : base
}

/** An adapter's weights, float32, in memory of their own on the device. Throws naming every tensor that is missing, misshapen or left over. */
export function loadAdapter(
  { path, config, tensors }: AdapterFolder,
  model: ModelShapes,
  device: Device = 'cpu',
): Adapter {
  const { modules, shapes } = named(path, () => adapterShapes(config, model))
  const problems: string[] = []
  for (const [name, shape] of shapes) {
    const found = tensors.get(name)
    if (!found) problems.push(`${name} is missing`)
    else if (found.shape.join() !== shape.join())
      problems.push(`${name} is [${found.shape.join(', ')}], expected [${shape.join(', ')}]`)
  }
  for (const [name, { shape }] of tensors) {
    // PEFT stores the model's own embedding beside an adapter of it; one of another size would be another model's.
    const copy = name.endsWith('.base_layer.weight') && model.shapes.get(name.replace('.base_layer', ''))
    if (!shapes.has(name) && !(copy && copy.join() === shape.join())) problems.push(`${name} is not known`)
  }
  if (problems.length > 0)
    throw new Error(`${path}: the adapter does not fit the model: ${problems.slice(0, 8).join('; ')}`)
  const parameters: Parameters = new Map()
  outsideScopes(() => {
    for (const name of shapes.keys()) {
      const copy = () => op.toDtype(tensors.get(name)!.load(), 'float32', false, true).on(device)
      parameters.set(
        name,
        noGrad(() => scope(copy)),
      )
    }
  })
  return { config, modules, parameters }
}

function named<R>(path: string, work: () => R): R {
  try {
    return work()
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error })
  }
}

export interface AdapterContents {
  adapter: Adapter
  /** Fields of an adapter_config.json that it was loaded with. */
  rawConfig?: Record<string, unknown>
  /** Files that travel with it, such as the tokenizer's. */
  companions?: { path: string; names: readonly string[] }
  /** README.md */
  card?: string
  /** chat_template.jinja, where it is not among the companions. */
  chatTemplate?: string
  /** Entries of generation_config.json beside the companion's own. */
  generation?: Readonly<Record<string, unknown>> | undefined
}

/** Writes an adapter as PEFT does, whole or not at all. */
export async function saveAdapterFolder(path: string, contents: AdapterContents): Promise<void> {
  await replaceDirectory(path, (temporary) => writeAdapterFiles(temporary, contents))
}

/** Writes an adapter's files into a folder that exists, its weights by `write`. */
export function writeAdapterFiles(
  folder: string,
  contents: AdapterContents,
  write: WriteTensors = writeSafetensors,
): void {
  const { adapter, rawConfig, companions, card, chatTemplate, generation } = contents
  for (const name of companions?.names ?? []) copyCompanion(companions!.path, folder, name)
  const json = { ...rawConfig, ...adapterConfigJson(adapter.config) }
  writeFileSync(join(folder, configFile), `${JSON.stringify(json, null, 2)}\n`)
  if (chatTemplate !== undefined) writeFileSync(join(folder, 'chat_template.jinja'), chatTemplate)
  if (generation !== undefined) addToGenerationConfig(folder, generation)
  if (card !== undefined) writeFileSync(join(folder, 'README.md'), card)
  const tensors = [...adapter.parameters].map(([name, tensor]) => [storedName(name, adapter), tensor] as const)
  write(join(folder, weightsFile), tensors, { format: 'pt' })
}

/** SHA-256 over configuration and weights: equal where the adapter computes the same. */
export async function adapterHash({ path, rawConfig }: AdapterFolder): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(rawConfig))
  for await (const chunk of createReadStream(join(path, weightsFile))) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
