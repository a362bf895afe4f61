import { existsSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { microBatches, pack } from '../data/pack.ts'
import { Random } from '../data/random.ts'
import type { Example, Sequence } from '../data/types.ts'
import { type DensityOptions, densityRatio, desirableShare, fitStandardised } from '../loss/density-ratio.ts'
import { segmentAttention } from '../model/attention.ts'
import { type Decoder, streamTensors, type Weights } from '../model/decoder.ts'
import { op } from '../tensor/operators.ts'
import { readSafetensors, writeSafetensors } from '../tensor/safetensors.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import { type Dtype, Tensor } from '../tensor/tensor.ts'
import { withComputeWeights } from './passes.ts'
import type { Progress } from './run.ts'

type Hooks = { progress?: Progress; signal?: AbortSignal }
type Sets = { train: readonly Example[]; heldOut: readonly Example[] }

/** What embeds the prompts: the model that training starts from, as it is before its first step. */
export interface Embedder {
  decoder: Decoder
  compute: Dtype
  microBatchTokens: number
  seed: number
}

/**
 * The rows with weights that make up for prompts of which one kind of thumb is commoner (BCO's underlying distribution matching): each thumbs-down row's is
 * multiplied by the density ratio of its prompt. A classifier learns from the mean hidden states of the training rows' prompts which kind of row a
 * prompt has. The ratios are kept in `file`, where a resumed run finds them.
 */
export async function weightedByDensity(
  sets: Sets,
  options: DensityOptions,
  embedder: Embedder,
  file: string,
  hooks: Hooks,
): Promise<Sets> {
  const ratios = stored(file, sets) ?? (await ratiosOf(sets, options, embedder, hooks))
  if (!existsSync(file))
    scope(() =>
      writeSafetensors(
        file,
        [...ratios].map(([name, values]) => [name, Tensor.from(values)] as const),
      ),
    )
  hooks.progress?.log(ratioText(sets.train, ratios.get('train')!))
  const weighted = (name: keyof Sets) =>
    sets[name].map((example, i) => new WeightedExample(example, ratios.get(name)![i]!))
  return { train: weighted('train'), heldOut: weighted('heldOut') }
}

function stored(file: string, sets: Sets): Map<keyof Sets, Float32Array> | null {
  if (!existsSync(file)) return null
  const { tensors } = readSafetensors(file)
  const read = (name: keyof Sets): [keyof Sets, Float32Array] => {
    const values = scope(() => tensors.get(name)!.load().toArray())
    if (values.length !== sets[name].length)
      throw new Error(`${file}: ratios of ${values.length} ${name} rows, not ${sets[name].length}`)
    return [name, values]
  }
  return new Map([read('train'), read('heldOut')])
}

async function ratiosOf(
  { train, heldOut }: Sets,
  options: DensityOptions,
  embedder: Embedder,
  hooks: Hooks,
): Promise<Map<keyof Sets, Float32Array>> {
  const ratios = new Map<keyof Sets, Float32Array>([
    ['train', new Float32Array(train.length).fill(1)],
    ['heldOut', new Float32Array(heldOut.length).fill(1)],
  ])
  const kinds = new Set(train.map(({ desirable }) => desirable))
  if (kinds.size < 2) return ratios // a warning has said so
  const sampled = sampleOf(train, options.sample, embedder.seed)
  const { hiddenSize: width } = embedder.decoder.config
  const values = new Float32Array(sampled.length * width)
  await eachPrompt(sampled, embedder, hooks, (row, state) => values.set(state, row * width))
  const labels = sampled.map(({ desirable }) => desirable)
  const classifier = fitStandardised({ values, width }, labels)
  for (const [name, rows] of Object.entries({ train, heldOut }) as [keyof Sets, readonly Example[]][]) {
    const into = ratios.get(name)!
    const weighted = [...rows.keys()].filter((row) => !rows[row]!.desirable)
    const given = weighted.map((row) => rows[row]!)
    await eachPrompt(given, embedder, hooks, (i, state) => {
      into[weighted[i]!] = densityRatio(desirableShare(state, classifier), options)
    })
  }
  return ratios
}

/** Up to `most` rows of each kind. */
function sampleOf(rows: readonly Example[], most: number, seed: number): Example[] {
  const order = Array.from(new Random('density', seed).permutation(rows.length), (row) => rows[row]!)
  return [true, false].flatMap((kind) => order.filter(({ desirable }) => desirable === kind).slice(0, most))
}

/** Calls `take` with each row's position and its prompt's mean hidden state, [hiddenSize]; a prompt of several rows is computed once. */
async function eachPrompt(
  rows: readonly Example[],
  { decoder, compute, microBatchTokens }: Embedder,
  { progress, signal }: Hooks,
  take: (row: number, state: Float32Array) => void,
): Promise<void> {
  const { hiddenSize } = decoder.config
  const rowsOf = new Map<number, number[]>()
  for (const [row, { promptGroup }] of rows.entries()) {
    const known = rowsOf.get(promptGroup)
    if (known) known.push(row)
    else rowsOf.set(promptGroup, [row])
  }
  const prompts = [...rowsOf].map(([promptGroup, [row]]): Sequence => {
    // Of a completion of one token nothing is in the stream.
    return { prompt: rows[row!]!.prompt, completion: Int32Array.of(0), promptGroup, row: promptGroup }
  })
  const bar = progress?.start(prompts.length, 'prompts for the density ratio')
  let done = 0
  try {
    await withComputeWeights(decoder, compute, async (weights) => {
      for (const micro of microBatches(prompts, microBatchTokens)) {
        signal?.throwIfAborted()
        const states = scope(() => noGrad(() => meanStates(decoder, weights, micro).toArray()))
        for (const [i, { promptGroup }] of micro.entries()) {
          const state = states.subarray(i * hiddenSize, (i + 1) * hiddenSize)
          for (const row of rowsOf.get(promptGroup)!) take(row, state)
        }
        done += micro.length
        bar?.update(done)
        await setImmediate()
      }
    })
  } finally {
    bar?.stop()
  }
}

/** [prompts, hiddenSize], by the order given. */
function meanStates(decoder: Decoder, weights: Weights, micro: readonly Sequence[]): Tensor {
  const { device } = decoder
  const packed = pack(micro)
  const states = decoder.hidden(weights, streamTensors(packed, device), segmentAttention(packed.segments))
  const place = new Map(micro.map(({ row }, i) => [row, i]))
  const tokens = new Int32Array(packed.tokens.length)
  for (const [i, { start, length }] of packed.segments.entries())
    tokens.fill(place.get(packed.rows[i]!)!, start, start + length)
  const sums = op.indexAdd(
    op.zeros([micro.length, states.shape[1]!], 'float32', undefined, device),
    0,
    Tensor.from(tokens, undefined, 'int64', device),
    states,
  )
  return sums.div(
    Tensor.from(
      Float32Array.from(micro, ({ prompt }) => prompt.length),
      [micro.length, 1],
      undefined,
      device,
    ),
  )
}

/** What was found, for people to read. */
function ratioText(train: readonly Example[], ratios: Float32Array): string {
  const used = Array.from(ratios.filter((_, i) => !train[i]!.desirable)).sort((a, b) => a - b)
  if (used.length === 0) return 'density ratio: no thumbs-down rows to weight'
  const short = (value: number) => String(Number(value.toPrecision(3)))
  const mean = used.reduce((sum, ratio) => sum + ratio, 0) / used.length
  return `density ratio: thumbs-down rows weigh ${short(used[0]!)} to ${short(used.at(-1)!)} times, ${short(mean)} on average`
}

/** A row whose weight is multiplied; all else is read from it as before. */
class WeightedExample implements Example {
  readonly weight: number
  readonly #row: Example

  constructor(row: Example, factor: number) {
    this.#row = row
    this.weight = (row.weight ?? 1) * factor
  }

  get index(): number {
    return this.#row.index
  }
  get prompt(): Int32Array {
    return this.#row.prompt
  }
  get completion(): Int32Array {
    return this.#row.completion
  }
  get promptGroup(): number {
    return this.#row.promptGroup
  }
  get completionGroup(): number {
    return this.#row.completionGroup
  }
  get desirable(): boolean {
    return this.#row.desirable
  }
  get pair(): number | undefined {
    return this.#row.pair
  }
  get origin(): Example['origin'] {
    return this.#row.origin
  }
}
