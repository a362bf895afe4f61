// What tests of whole runs on tiny models share.
import { writeFileSync } from 'node:fs'
import { train } from '../../src/index.ts'
import type { TrainOptions } from '../../src/train/options.ts'
import type { StepMetrics, TrainHooks } from '../../src/train/run.ts'

export function writeRows(file: string, rows: readonly object[]): void {
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}

/** Thumbs up for answers in capitals: something a tiny model can learn. */
export function capitalRows() {
  return Array.from({ length: 48 }, (_, i) => {
    const word = ['tea', 'milk', 'juice', 'water'][i % 4]!
    return { prompt: `Bring ${word} ${i % 12}. `, completion: i % 2 ? word : word.toUpperCase(), label: i % 2 === 0 }
  })
}

/** Each of 60 prompts with four completions, of up to seven words. */
export function numberedRows() {
  return Array.from({ length: 240 }, (_, i) => ({
    prompt: `Question ${i % 60}: `,
    completion: 'yes '.repeat(1 + (i % 7)),
    label: i % 3 === 0,
  }))
}

/** Settings of a run that a tiny model learns from in seconds. */
export const quick = {
  batchSize: 8,
  optimizer: { learningRate: 3e-3 },
  checkpoint: { every: 4 },
  samples: { prompts: 0 },
  precision: 'float32',
} as const satisfies Partial<TrainOptions>

export async function finish(given: TrainOptions, hooks?: TrainHooks) {
  const run = await train(given, hooks)
  const steps: StepMetrics[] = []
  for await (const step of run) steps.push(step)
  return { directory: run.directory, steps, summary: await run.finished }
}
