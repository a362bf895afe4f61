import { isDeepStrictEqual } from 'node:util'
import { encodePrompt } from '../data/tokenize.ts'
import { loadTokenizer, type Tokenizer } from '../data/tokenizer.ts'
import type { Message } from '../data/types.ts'
import type { ModelFolder } from '../model/folder.ts'
import type { Quantization } from '../model/frozen.ts'
import { loadSource } from '../model/load.ts'
import { type ModelSource, openSource, tokenizerFolder } from '../model/open.ts'
import type { ResidentModel } from '../model/resident.ts'
import { OptionError } from '../options/validate.ts'
import { computeTypeOn, resolveDevice } from '../tensor/device.ts'
import { inspectEngine, setThreads } from '../tensor/engine.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import type { Progress } from '../train/run.ts'
import type { Reply, ResolvedGenerateOptions } from './options.ts'
import { type NamedPrompt, readPrompts } from './prompts.ts'
import { promptProblem, type Sample, type SampleOptions, sample } from './sample.ts'

export interface GenerateHooks {
  progress?: Progress
  signal?: AbortSignal
  /** Prompts at the beginning that are answered already. The others get what they would have got among all. */
  skip?: number
  /** The same, by the replies, which must be to these prompts. */
  kept?: readonly Pick<Reply, 'prompt'>[]
  /** The caller prints the replies as they come: no bar counts them. */
  printed?: boolean
  /** Where models stay in memory from one call to the next: one whose adapter is put on or taken off is not read again. */
  resident?: ResidentModel
}

/** Answers the prompts with the model of a folder, or by an endpoint, and yields the replies in the order of the prompts. */
export async function* generate(options: ResolvedGenerateOptions, hooks: GenerateHooks = {}): AsyncGenerator<Reply> {
  const { progress, kept = [], skip = kept.length, printed = false } = hooks
  const all = options.prompts === undefined ? givenPrompts(options.prompt ?? []) : readPrompts(options.prompts)
  checkKept(kept, all, options)
  const named = all.slice(skip)
  const piece = printed ? undefined : progress?.start(all.length, 'replies', skip)
  const began = performance.now()
  let [answered, tokens] = [skip, 0]
  try {
    const replies = options.sampler === undefined ? answeredHere : (await import('./remote.ts')).remoteReplies
    for await (const reply of replies(named, options, { ...hooks, skip })) {
      tokens += reply.tokens
      piece?.update(++answered, { 'tokens/s': Math.round(tokens / ((performance.now() - began) / 1000)) })
      yield reply
    }
  } finally {
    piece?.stop()
  }
}

function checkKept(
  kept: readonly Pick<Reply, 'prompt'>[],
  all: readonly NamedPrompt[],
  { output }: ResolvedGenerateOptions,
): void {
  const other = kept.findIndex(({ prompt }, i) => !isDeepStrictEqual(prompt, all[i]?.prompt))
  if (other !== -1)
    throw new OptionError(
      `--resume: ${output}:${other + 1} answers another prompt than number ${other + 1} of those given: name another --output`,
    )
}

/** Replies of the model in a folder. */
async function* answeredHere(
  named: readonly NamedPrompt[],
  options: ResolvedGenerateOptions,
  hooks: GenerateHooks,
): AsyncGenerator<Reply> {
  const { progress, signal, skip = 0 } = hooks
  const source = await openSource(options.model, options, { progress, signal })
  const { folder } = source
  const tokenizer = loadTokenizer(tokenizerFolder(source), options)
  const prompts = named.map((prompt) => encode(prompt, tokenizer, folder, options))
  setThreads(options.threads ?? null)
  for (const warning of inspectEngine().warnings) progress?.log(warning)
  const note = roomNote(prompts, folder, options)
  if (note) progress?.log(note)
  const streams = prompts.map((_, i) => skip + i)
  const settings = { streams, stop: tokenizer.eosIds, ended: endsWithStop(tokenizer, options.stop), signal }
  for await (const { index, tokens, logps, finish } of inOrder(answers(source, prompts, options, settings, hooks))) {
    const completion = cutAtStop(tokenizer.decode(tokens, { skipSpecial: true }), options.stop)
    const logprobs = options.logprobs && { logprobs: Array.from(logps) }
    yield { prompt: named[index]!.prompt, completion, tokens: tokens.length, finish, ...logprobs }
  }
}

/** Whether a reply has come to one of the texts. Only its end is looked at: the beginning was, when it was the end. */
function endsWithStop(tokenizer: Tokenizer, texts: readonly string[] | undefined): SampleOptions['ended'] {
  if (!texts) return undefined
  const longest = Math.max(...texts.map((text) => Buffer.byteLength(text))) + 8 // no token is shorter than a byte
  return (reply) => {
    const end = tokenizer.decode(Int32Array.from(reply.slice(-longest)), { skipSpecial: true })
    return texts.some((text) => end.includes(text))
  }
}

/** A reply up to the first of the texts. */
export function cutAtStop(completion: string, texts: readonly string[] = []): string {
  const places = texts.map((text) => completion.indexOf(text)).filter((place) => place >= 0)
  return places.length === 0 ? completion : completion.slice(0, Math.min(...places))
}

function givenPrompts(texts: readonly string[]): NamedPrompt[] {
  return texts.map((prompt, i) => ({ prompt, name: texts.length === 1 ? '--prompt' : `--prompt ${i + 1}` }))
}

/** Token ids of a prompt as in training. Throws where it cannot be put through the template, or leaves no room for a reply. */
function encode(
  { prompt, name, tools }: NamedPrompt,
  tokenizer: Tokenizer,
  folder: ModelFolder,
  options: ResolvedGenerateOptions,
): Int32Array {
  try {
    const ids = encodePrompt(asModelSeesIt(prompt, tokenizer, options), tokenizer, tools)
    const problem = promptProblem(ids, folder.config, { maxTokens: options.maxTokens, overflow: 'shorten' })
    if (problem) throw new Error(`the prompt ${problem}`)
    return ids
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`)
  }
}

/** Says where replies may end sooner than at `maxTokens`, a default that small models cannot reach. */
function roomNote(
  prompts: readonly Int32Array[],
  { config: { maxPositions } }: ModelFolder,
  { maxTokens }: ResolvedGenerateOptions,
): string | null {
  const tight = prompts.filter(({ length }) => length + maxTokens > maxPositions).length
  if (tight === 0) return null
  return `the model sees ${maxPositions} tokens at most: ${tight} of ${prompts.length} prompts leave fewer than --max-tokens ${maxTokens} for the reply`
}

/** With a chat template, a text is what the user says. */
function asModelSeesIt(prompt: string | Message[], { chatTemplate }: Tokenizer, { chat }: ResolvedGenerateOptions) {
  if (chat === true && chatTemplate === null) throw new Error('--chat is set, but the model has no chat template')
  if (typeof prompt === 'string') return (chat ?? chatTemplate !== null) ? [{ role: 'user', content: prompt }] : prompt
  if (chat === false) throw new Error('--no-chat is set, but the prompt is messages: make it a text')
  return prompt
}

/** Loads the model for as long as it answers. */
async function* answers(
  source: ModelSource,
  prompts: readonly Int32Array[],
  options: ResolvedGenerateOptions,
  settings: Pick<SampleOptions, 'streams' | 'stop' | 'ended' | 'signal'>,
  { progress, resident }: GenerateHooks,
): AsyncGenerator<Sample> {
  // Norms and embeddings keep the precision they are stored in, and matrices are cast: as in training.
  const device = resolveDevice(options.device)
  const compute = computeTypeOn(device, options.precision)
  const stored = source.folder.dtype === 'bfloat16' ? 'bfloat16' : 'float32'
  const dtype = source.adapter ? compute : stored
  const how = { device, quantization: quantizationOf(options), progress }
  const decoder = resident ? resident.use(source, dtype, how) : loadSource(source, dtype, how)
  const weights = noGrad(() => scope(() => decoder.computeWeights(compute)))
  try {
    const { maxTokens, temperature, topK, topP, minP, repetitionPenalty, greedy, seed } = options
    const drawing = { temperature, topK, topP, minP, repetitionPenalty, greedy }
    yield* sample(decoder, weights, prompts, { maxTokens, seed, overflow: 'shorten', ...drawing, ...settings })
  } finally {
    decoder.disposeWeights(weights)
    decoder.dispose()
  }
}

function quantizationOf({ loadIn }: ResolvedGenerateOptions): Quantization | null {
  return loadIn === undefined ? null : { bits: loadIn === '4bit' ? 4 : 8, doubleQuantization: true }
}

/** Holds back what ends before its turn. */
export async function* inOrder<T extends { index: number }>(samples: AsyncIterable<T>): AsyncGenerator<T> {
  const early = new Map<number, T>()
  let next = 0
  for await (const answer of samples) {
    early.set(answer.index, answer)
    for (let due = early.get(next); due; due = early.get(++next)) {
      early.delete(next)
      yield due
    }
  }
}
