import type { Example } from '../data/types.ts'
import { adapterShapes } from '../model/adapters/adapter.ts'
import type { AdapterConfig } from '../model/adapters/config.ts'
import type { ModelConfig } from '../model/config.ts'
import { embeddingName, headName } from '../model/decoder.ts'
import { modelShapes } from '../model/open.ts'
import { parameterShapes } from '../model/parameters.ts'
import type { Dtype } from '../tensor/tensor.ts'

/** What a run trains, and how, as far as its memory goes. */
export interface PlannedRun {
  config: ModelConfig
  /** null: all weights are trained. */
  adapter: AdapterConfig | null
  /** How a frozen base is stored; in the type of products where it is left out. */
  loadIn?: '4bit' | '8bit' | undefined
  /** In how many bits moments are stored: 32 where it is left out. */
  optimizer?: 'adamw' | 'adamw_8bit'
  /** Type of matrix products. */
  compute: Dtype
  /** A second model of the same size is in memory. */
  referenceCopy: boolean
  /** Tokens of the largest forward and backward pass. */
  tokens: number
  /** Every batch is one pass: then copies of trained weights are gone before their gradients come. */
  onePass: boolean
}

/** Bytes at a run's busiest moment, by calculation: docs/memory.md has the formulas, and what was measured beside them. */
export interface MemoryPlan {
  plain: number
  /** With gradient checkpointing. */
  checkpointed: number
}

/** Logits, libraries and V8. */
const rest = 0.35e9
/** What a plan may take of the memory that is available: sums of sizes leave out what lies between tensors. */
const usable = 0.8

export function planMemory(run: PlannedRun): MemoryPlan {
  const { config, adapter, compute, tokens } = run
  const { hiddenSize: width, intermediateSize: inner, layers } = config
  const size = tokens * (compute === 'float32' ? 2 : 1)
  const block = size * (30 * width + 14 * inner) // inside of it, and its gradients
  const inside = adapter
    ? 22 * width + 6 * inner + (adapter.type === 'dora' ? 12 * width + 8 * inner : 0)
    : 20 * width + 4 * inner
  const weights = weightBytes(run)
  return {
    plain: rest + block + busiest(weights, layers * size * inside),
    checkpointed: rest + block + busiest(weights, 4 * tokens * width * layers),
  }
}

/** Bytes that weights take. */
interface WeightBytes {
  /** All the time. */
  always: number
  /** From the first gradient to the update. */
  gradients: number
  /** From the step's beginning to the last pass's backward. */
  copies: number
  /** Of copies and gradients what the head's backward holds at once, before all others. */
  head: number
  onePass: boolean
}

/** The most of weights and of what forward passes keep, which goes as gradients come. */
function busiest({ always, gradients, copies, head, onePass }: WeightBytes, kept: number): number {
  if (!onePass) return always + gradients + copies + kept
  return always + Math.max(copies + kept, head + kept, gradients)
}

function weightBytes({
  config,
  adapter,
  loadIn,
  compute,
  referenceCopy,
  optimizer = 'adamw',
  onePass,
}: PlannedRun): WeightBytes {
  const shapes = parameterShapes(config)
  const all = elements(shapes.values())
  const cast = compute === 'float32' ? 4 : 2
  const copy = compute === 'float32' ? 0 : 2
  const sizeOf = (name: string) => elements([shapes.get(name) ?? [0]])
  const each = optimizer === 'adamw_8bit' ? 6.03 : 12 // with moments, without its gradient
  if (!adapter) {
    const embedding = sizeOf(embeddingName(config)) // whose moments are always of 32 bits
    const always = each * (all - embedding) + 12 * embedding + (referenceCopy ? 4 : 0) * all
    const head = (copy + 4) * (config.tiedHead ? embedding : sizeOf(headName(config)))
    return { always, gradients: 4 * all, copies: copy * all, head, onePass }
  }
  const trained = elements(adapterShapes(adapter, modelShapes(config)).shapes.values())
  const whole = sizeOf(embeddingName(config)) + sizeOf(headName(config)) // these stay as they are
  const base = loadIn ? (loadIn === '4bit' ? 0.52 : 1.02) * (all - whole) + cast * whole : cast * all
  return { always: base + each * trained, gradients: 4 * trained, copies: copy * trained, head: 0, onePass: false }
}

function elements(shapes: Iterable<readonly number[]>): number {
  return Array.from(shapes, (shape) => shape.reduce((product, size) => product * size, 1)).reduce((a, b) => a + b, 0)
}

/** Tokens of the largest pass: as many as the budget, or all of the longest batch, or one row that is longer than the budget; and whether it is the only one. */
export function largestPass(
  examples: readonly Example[],
  batchSize: number,
  budget: number,
): { tokens: number; onePass: boolean } {
  const lengths = examples.map(({ prompt, completion }) => prompt.length + completion.length).sort((a, b) => b - a)
  const batch = lengths.slice(0, batchSize).reduce((sum, length) => sum + length, 0)
  return { tokens: Math.max(lengths[0] ?? 0, Math.min(batch, budget)), onePass: batch <= budget }
}

/** Whether blocks are to be computed again: where keeping everything would not fit into so many bytes. Says what it found. */
export function checkpointingFor(
  { plain, checkpointed }: MemoryPlan,
  available: number,
): { on: boolean; says: string } {
  const room = usable * available
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
  const of = `about ${gigabytes(plain)} without it, of ${gigabytes(available)} available`
  if (plain <= room) return { on: false, says: `gradient checkpointing: off (${of})` }
  const still = checkpointed > room ? `; with it about ${gigabytes(checkpointed)}, which may not fit either` : ''
  const fix =
    still &&
    ': lower --micro-batch-tokens, train an adapter (--adapter lora), or load its base in 4 bits (--load-in 4bit)'
  return { on: true, says: `gradient checkpointing: on (${of}${still}${fix})` }
}
