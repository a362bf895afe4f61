import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Example, Sequence } from '../../src/data/types.ts'
import { type LossOptions, makeObjective } from '../../src/loss/index.ts'
import type { Decoder } from '../../src/model/decoder.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { Critic } from '../../src/train/critic.ts'
import { AdamW, type AdamWOptions } from '../../src/train/optimizer.ts'
import type { Trainer } from '../../src/train/step.ts'

export const golden = (path: string) => fileURLToPath(new URL(`../golden/${path}`, import.meta.url))

export interface GoldenRow {
  prompt: number[]
  completion: number[]
  label: boolean
  mismatched: number[]
}

export function goldenRows(): { examples: Example[]; mismatched: Sequence[] } {
  const rows = JSON.parse(readFileSync(golden('kto/rows.json'), 'utf8')) as GoldenRow[]
  const prompts = [...new Set(rows.map(({ prompt }) => prompt.join()))]
  const completions = [...new Set(rows.map(({ completion }) => completion.join()))]
  const examples = rows.map((row, index) => ({
    index,
    promptGroup: prompts.indexOf(row.prompt.join()),
    completionGroup: completions.indexOf(row.completion.join()),
    prompt: Int32Array.from(row.prompt),
    completion: Int32Array.from(row.completion),
    desirable: row.label,
    origin: { file: 'rows.json', line: index + 1 },
  }))
  const mismatched = examples.map(({ prompt, promptGroup }, row) => ({
    prompt,
    promptGroup,
    completion: Int32Array.from(rows[row]!.mismatched),
    row,
  }))
  return { examples, mismatched }
}

const plainAdamW: AdamWOptions = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
}

/** A trainer of a model folder in float32, as `train()` sets it up. */
export function trainerOf(folder: string, loss: LossOptions, options: Partial<AdamWOptions> = {}): Trainer {
  return trainerFor(loadDecoder(folder, 'float32'), loss, options)
}

/** A trainer of what is trainable in a decoder. */
export function trainerFor(decoder: Decoder, loss: LossOptions, options: Partial<AdamWOptions> = {}): Trainer {
  for (const parameter of decoder.trainable.values()) parameter.withGrad()
  const optimizer = new AdamW(decoder.trainable, { ...plainAdamW, ...options })
  const objective = makeObjective(loss)
  const critic = objective.needs.values ? new Critic(decoder, 0, { ...plainAdamW, ...options }) : null
  return { decoder, objective, optimizer, critic, compute: 'float32', microBatchTokens: 8192 }
}

export function disposeTrainer({ decoder, optimizer, critic }: Trainer): void {
  critic?.dispose()
  optimizer.dispose()
  decoder.dispose()
}

/** The largest difference of two arrays relative to the largest magnitude in the second. */
export function relativeDifference(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) throw new Error(`lengths ${got.length} and ${want.length} differ`)
  let [worst, largest] = [0, 0]
  for (let i = 0; i < want.length; i++) {
    worst = Math.max(worst, Math.abs(got[i]! - want[i]!))
    largest = Math.max(largest, Math.abs(want[i]!))
  }
  return largest === 0 ? worst : worst / largest
}
