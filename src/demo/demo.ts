import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Random } from '../data/random.ts'
import { encodePrompt } from '../data/tokenize.ts'
import { loadTokenizer } from '../data/tokenizer.ts'
import { type Proportion, wilson } from '../evaluate/interval.ts'
import { sample } from '../infer/sample.ts'
import { writeInitialWeights } from '../model/create.ts'
import { loadDecoder } from '../model/load.ts'
import type { TrainOptions } from '../train/options.ts'
import { withComputeWeights } from '../train/passes.ts'
import type { Progress } from '../train/run.ts'
import { train } from '../train/train.ts'
import { writeDemoFolder } from './folder.ts'
import { judge, noisyThumb } from './judge.ts'
import { sftMixture } from './mixture.ts'
import { heldOutPrompts, trainingPrompts } from './prompts.ts'
import type { DemoResult } from './result.ts'

/** How large the demo is: about two minutes on two cores. */
const size = {
  sftRows: 8000,
  sftEpochs: 2,
  feedbackRows: 4096,
  heldOut: 400,
  thumbNoise: 0.05,
  shown: 3,
}
const sftSettings: Partial<TrainOptions> = {
  loss: { type: 'sft' },
  batchSize: 64,
  epochs: size.sftEpochs,
  optimizer: { learningRate: 2e-3 },
  schedule: { type: 'cosine', warmup: 0.05 },
}
const ktoSettings: Partial<TrainOptions> = {
  batchSize: 64,
  optimizer: { learningRate: 1e-4 },
  schedule: { type: 'linear', warmup: 0.1 },
}
const shared: Partial<TrainOptions> = { precision: 'float32', evaluation: { split: 0.02 }, samples: { prompts: 0 } }

/**
 * The whole method on a small world whose truth is known: trains a shop assistant from nothing on good and bad replies alike, lets customers
 * (who err at times) judge what it says, aligns it with their thumbs by KTO, and measures on questions that it never met.
 */
export async function demo({
  progress,
  signal,
  folder = `runs/demo-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`,
}: {
  progress: Progress
  signal?: AbortSignal
  folder?: string
}): Promise<DemoResult> {
  const began = performance.now()
  const hooks = { progress, signal }
  const path = (name: string) => join(folder, name)
  mkdirSync(folder, { recursive: true })
  writeDemoFolder(path('untrained'))
  writeInitialWeights(path('untrained'), 0)

  progress.log(`1/4  train a small assistant from nothing on ${size.sftRows} replies, good and bad alike (SFT)`)
  writeRows(path('replies.jsonl'), sftMixture(size.sftRows, 1))
  const imitator = await trainShown(
    { ...shared, ...sftSettings, model: path('untrained'), data: path('replies.jsonl'), output: path('sft') },
    hooks,
  )

  progress.log(`2/4  let it reply to ${size.feedbackRows} questions, and let customers judge (1 thumb in 20 is wrong)`)
  const asked = trainingPrompts(size.feedbackRows, 2)
  const feedback = judged(asked, await replies(imitator, asked, 3, 'replies to judge', hooks))
  writeRows(path('feedback.jsonl'), feedback)

  const up = feedback.filter(({ label }) => label).length
  const thumbs = { up, down: feedback.length - up }
  progress.log(`3/4  align it with ${thumbs.up} thumbs up and ${thumbs.down} thumbs down (KTO)`)
  const loss = { type: 'kto', beta: 0.1, desirableWeight: balancingWeight(thumbs) } as const
  const aligned = await trainShown(
    { ...shared, ...ktoSettings, loss, model: imitator, data: path('feedback.jsonl'), output: path('kto') },
    hooks,
  )

  progress.log(`4/4  measure both on ${size.heldOut} questions that neither has met`)
  const questions = heldOutPrompts(size.heldOut, 4)
  const before = await replies(imitator, questions, 5, 'replies before', hooks)
  const after = await replies(aligned, questions, 5, 'replies after', hooks)
  return {
    directory: folder,
    run: path('kto'),
    model: aligned,
    thumbs,
    before: thumbsUp(questions, before),
    after: thumbsUp(questions, after),
    replies: questions
      .slice(0, size.shown)
      .map((prompt, i) => ({ prompt, before: before[i]!.trim(), after: after[i]!.trim() })),
    seconds: (performance.now() - began) / 1000,
  }
}

interface Hooks {
  progress: Progress
  signal?: AbortSignal
}

/** Runs a training with its bar; returns the model's folder. */
async function trainShown(options: TrainOptions, hooks: Hooks): Promise<string> {
  const run = await train(options, hooks)
  const label = options.loss?.type === 'sft' ? 'SFT' : 'KTO'
  let bar: ReturnType<Progress['start']> | undefined
  for await (const { step, steps, loss, rewards } of run) {
    bar ??= hooks.progress.start(steps, label)
    bar.update(step, { loss, ...(rewards && { margin: rewards.margin }) })
  }
  bar?.stop()
  const { model } = await run.finished
  if (model === null) throw hooks.signal?.reason
  return model
}

/** One reply to each prompt, sampled at temperature 1. */
async function replies(
  model: string,
  prompts: readonly string[],
  seed: number,
  label: string,
  { progress, signal }: Hooks,
): Promise<string[]> {
  const tokenizer = loadTokenizer(model)
  const decoder = loadDecoder(model, 'float32')
  const bar = progress.start(prompts.length, label)
  try {
    return await withComputeWeights(decoder, 'float32', async (weights) => {
      const texts: string[] = []
      const encoded = prompts.map((prompt) => encodePrompt(prompt, tokenizer))
      const options = { maxTokens: 32, seed, stop: tokenizer.eosIds, batch: 128, signal }
      let done = 0
      for await (const { index, tokens } of sample(decoder, weights, encoded, options)) {
        texts[index] = tokenizer.decode(tokens, { skipSpecial: true })
        bar.update(++done)
      }
      return texts
    })
  } finally {
    bar.stop()
    decoder.dispose()
    await setImmediate()
  }
}

/** lambda_D with which lambda_D n_D / (lambda_U n_U) is 4/3: Eq. 8 of arXiv 2402.01306v1 advises 1 to 4/3. */
function balancingWeight({ up, down }: DemoResult['thumbs']): number {
  return up === 0 ? 1 : (4 / 3) * (down / up)
}

/** Replies with the thumbs of customers, some of them careless. */
function judged(prompts: readonly string[], texts: readonly string[]) {
  const random = new Random('thumbs', 0)
  return prompts.map((prompt, i) => {
    const completion = texts[i]!
    return { prompt, completion, label: noisyThumb(judge(prompt, completion).up, size.thumbNoise, random) }
  })
}

function thumbsUp(prompts: readonly string[], texts: readonly string[]): Proportion {
  return wilson(prompts.filter((prompt, i) => judge(prompt, texts[i]!).up).length, prompts.length)
}

function writeRows(file: string, rows: readonly object[]): void {
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}
