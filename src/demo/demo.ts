import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Random } from '../data/random.ts'
import { encodePrompt } from '../data/tokenize.ts'
import { loadTokenizer } from '../data/tokenizer.ts'
import { type Proportion, wilson } from '../evaluate/interval.ts'
import { writeReport } from '../evaluate/report/report.ts'
import { answer } from '../infer/answer.ts'
import { sample } from '../infer/sample.ts'
import { makeObjective } from '../loss/index.ts'
import { type ObjectiveName, objectives } from '../loss/table.ts'
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
const alignSettings: Partial<TrainOptions> = {
  batchSize: 64,
  optimizer: { learningRate: 1e-4 },
  schedule: { type: 'linear', warmup: 0.1 },
}
/** Words that the shop's tokenizer knows. */
const controls = { desirableControl: ' Please', undesirableControl: ' Stop' }
const shared: Partial<TrainOptions> = {
  device: 'cpu',
  precision: 'float32',
  evaluation: { split: 0.02 },
  samples: { prompts: 0 },
}

/**
 * The whole method on a small world whose truth is known: trains a shop assistant from nothing on good and bad replies alike, lets customers
 * (who err at times) judge what it says, aligns it with their thumbs by KTO or another objective, and measures on questions that it never met.
 */
export async function demo({
  progress,
  signal,
  loss = 'kto',
  folder = `runs/demo-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`,
}: {
  progress: Progress
  signal?: AbortSignal
  loss?: ObjectiveName
  folder?: string
}): Promise<DemoResult> {
  const began = performance.now()
  const hooks = { progress, signal }
  const path = (name: string) => join(folder, name)
  progress.log(`1/4  train a small assistant from nothing on ${size.sftRows} replies, good and bad alike (SFT)`)
  const imitator = await trainImitator(folder, hooks)

  progress.log(`2/4  let it reply to ${size.feedbackRows} questions, and let customers judge (1 thumb in 20 is wrong)`)
  const pairs = makeObjective({ type: loss }).needs.pairs
  const replied = await collectFeedback(imitator, { rows: size.feedbackRows, each: pairs ? 2 : 1, seed: 2 }, hooks)
  const { thumbs } = replied
  writeRows(path('feedback.jsonl'), pairs ? pairsOf(replied.feedback) : replied.feedback)

  progress.log(`3/4  align it with ${thumbs.up} thumbs up and ${thumbs.down} thumbs down (${loss.toUpperCase()})`)
  const data = path('feedback.jsonl')
  const shown = { samples: { prompts: size.shown } }
  const aligned = await align({ model: imitator, data, output: path(loss), loss, thumbs, more: shown }, hooks)

  progress.log(`4/4  measure both on ${size.heldOut} questions that neither has met`)
  const questions = heldOutPrompts(size.heldOut, 4)
  const before = await replies(imitator, questions, 5, 'replies before', hooks)
  const after = await replies(aligned, questions, 5, 'replies after', hooks)
  return {
    directory: folder,
    run: path(loss),
    report: await writeReport(path(loss)),
    loss,
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

/** The model that imitates good and bad replies alike; returns its folder. */
export async function trainImitator(folder: string, hooks: Hooks): Promise<string> {
  const path = (name: string) => join(folder, name)
  mkdirSync(folder, { recursive: true })
  writeDemoFolder(path('untrained'))
  writeInitialWeights(path('untrained'), 0)
  writeRows(path('replies.jsonl'), sftMixture(size.sftRows, 1))
  return await trainShown(
    { ...shared, ...sftSettings, model: path('untrained'), data: path('replies.jsonl'), output: path('sft') },
    hooks,
  )
}

interface Feedback {
  prompt: string
  completion: string
  label: boolean
}

/** Judged replies of a model, `each` to a question, `rows` in all. */
export async function collectFeedback(
  model: string,
  { rows, each, seed }: { rows: number; each: number; seed: number },
  hooks: Hooks,
): Promise<{ feedback: Feedback[]; thumbs: DemoResult['thumbs'] }> {
  const asked = trainingPrompts(Math.ceil(rows / each), seed).flatMap((prompt) => new Array<string>(each).fill(prompt))
  const feedback = judged(asked, await replies(model, asked, seed + 1, 'replies to judge', hooks), seed - 2)
  const up = feedback.filter(({ label }) => label).length
  return { feedback, thumbs: { up, down: feedback.length - up } }
}

/** Of two replies to one question with different thumbs, the better is chosen and the other rejected; questions whose replies are alike give none. */
export function pairsOf(feedback: readonly Feedback[]): { prompt: string; chosen: string; rejected: string }[] {
  const pairs = []
  for (let i = 0; i + 1 < feedback.length; i += 2) {
    const [one, other] = [feedback[i]!, feedback[i + 1]!]
    if (one.label === other.label) continue
    const [chosen, rejected] = one.label ? [one, other] : [other, one]
    pairs.push({ prompt: one.prompt, chosen: chosen.completion, rejected: rejected.completion })
  }
  return pairs
}

/** Aligns a model with an objective in its paper's settings; returns the aligned model's folder. */
export async function align(
  given: {
    model: string
    data: string
    output: string
    loss: ObjectiveName
    thumbs: DemoResult['thumbs']
    more?: Partial<TrainOptions>
  },
  hooks: Hooks,
): Promise<string> {
  const { model, data, output, loss, thumbs, more } = given
  const has = (option: string) => (objectives[loss].options as readonly string[]).includes(option)
  const options = {
    type: loss,
    ...(has('desirableWeight') && { desirableWeight: balancingWeight(thumbs) }),
    ...(has('desirableControl') && controls),
  }
  return await trainShown({ ...shared, ...alignSettings, loss: options, model, data, output, ...more }, hooks)
}

/** Which replies to questions that no training met earn a thumbs up; the same seed asks the same questions. */
export async function measure(
  model: string,
  { count, seed }: { count: number; seed: number },
  hooks: Hooks,
): Promise<boolean[]> {
  const questions = heldOutPrompts(count, seed)
  return helpful(questions, await replies(model, questions, seed + 1, 'replies', hooks))
}

export interface Hooks {
  progress: Progress
  signal?: AbortSignal
}

/** Runs a training with its bar; returns the model's folder. */
async function trainShown(options: TrainOptions, hooks: Hooks): Promise<string> {
  const run = await train(options, hooks, { sampler: answer })
  const label = (options.loss?.type ?? 'kto').toUpperCase()
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
function judged(prompts: readonly string[], texts: readonly string[], seed: number): Feedback[] {
  const random = new Random('thumbs', seed)
  return prompts.map((prompt, i) => {
    const completion = texts[i]!
    return { prompt, completion, label: noisyThumb(judge(prompt, completion).up, size.thumbNoise, random) }
  })
}

function thumbsUp(prompts: readonly string[], texts: readonly string[]): Proportion {
  return wilson(helpful(prompts, texts).filter(Boolean).length, prompts.length)
}

function helpful(prompts: readonly string[], texts: readonly string[]): boolean[] {
  return prompts.map((prompt, i) => judge(prompt, texts[i]!).up)
}

function writeRows(file: string, rows: readonly object[]): void {
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}
