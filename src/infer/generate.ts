import { encodePrompt } from '../data/tokenize.ts'
import { loadTokenizer, type Tokenizer } from '../data/tokenizer.ts'
import type { Message } from '../data/types.ts'
import { localModel } from '../hub/inputs.ts'
import { type ModelFolder, openModelFolder } from '../model/folder.ts'
import { loadDecoder } from '../model/load.ts'
import { inspectEngine, setThreads } from '../tensor/engine.ts'
import { hasBfloat16 } from '../tensor/processor.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import type { Dtype } from '../tensor/tensor.ts'
import type { Progress } from '../train/run.ts'
import type { Reply, ResolvedGenerateOptions } from './options.ts'
import { type NamedPrompt, readPrompts } from './prompts.ts'
import { promptProblem, type Sample, sample } from './sample.ts'

export interface GenerateHooks {
  progress?: Progress
  signal?: AbortSignal
}

/** Answers the prompts with the model of a folder, and yields the replies in the order of the prompts. */
export async function* generate(
  options: ResolvedGenerateOptions,
  { progress, signal }: GenerateHooks = {},
): AsyncGenerator<Reply> {
  const model = await localModel(options.model, { progress, signal })
  const folder = openModelFolder(model)
  const tokenizer = loadTokenizer(model, options)
  const named = options.prompts === undefined ? givenPrompts(options.prompt ?? []) : readPrompts(options.prompts)
  const prompts = named.map((prompt) => encode(prompt, tokenizer, folder, options))
  setThreads(options.threads ?? null)
  for (const warning of inspectEngine().warnings) progress?.log(warning)
  const note = roomNote(prompts, folder, options)
  if (note) progress?.log(note)
  const piece = progress?.start(prompts.length, 'replies')
  let answered = 0
  try {
    for await (const { index, tokens, finish } of inOrder(
      answers(folder, prompts, tokenizer.eosIds, options, signal),
    )) {
      piece?.update(++answered)
      const completion = tokenizer.decode(tokens, { skipSpecial: true })
      yield { prompt: named[index]!.prompt, completion, tokens: tokens.length, finish }
    }
  } finally {
    piece?.stop()
  }
}

function givenPrompts(texts: readonly string[]): NamedPrompt[] {
  return texts.map((prompt, i) => ({ prompt, name: texts.length === 1 ? '--prompt' : `--prompt ${i + 1}` }))
}

/** Token ids of a prompt as in training. Throws where it cannot be put through the template, or leaves no room for a reply. */
function encode(
  { prompt, name }: NamedPrompt,
  tokenizer: Tokenizer,
  folder: ModelFolder,
  options: ResolvedGenerateOptions,
): Int32Array {
  try {
    const ids = encodePrompt(asModelSeesIt(prompt, tokenizer, options), tokenizer)
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
  folder: ModelFolder,
  prompts: readonly Int32Array[],
  stop: readonly number[],
  options: ResolvedGenerateOptions,
  signal?: AbortSignal,
): AsyncGenerator<Sample> {
  // Norms and embeddings keep the precision they are stored in, and matrices are cast: as in training.
  const decoder = loadDecoder(folder, folder.dtype === 'bfloat16' ? 'bfloat16' : 'float32')
  const weights = noGrad(() => scope(() => decoder.computeWeights(computeType(options))))
  try {
    const { maxTokens, temperature, topP, greedy, seed } = options
    yield* sample(decoder, weights, prompts, {
      maxTokens,
      temperature,
      topP,
      greedy,
      seed,
      stop,
      signal,
      overflow: 'shorten',
    })
  } finally {
    for (const weight of weights.values()) weight.dispose() // some are the decoder's own
    decoder.dispose()
  }
}

function computeType({ precision }: ResolvedGenerateOptions): Dtype {
  if (precision === 'float32') return 'float32'
  return precision === 'bf16' || hasBfloat16() ? 'bfloat16' : 'float32'
}

/** Holds back what ends before its turn. */
async function* inOrder(samples: AsyncIterable<Sample>): AsyncGenerator<Sample> {
  const early = new Map<number, Sample>()
  let next = 0
  for await (const answer of samples) {
    early.set(answer.index, answer)
    for (let due = early.get(next); due; due = early.get(++next)) {
      early.delete(next)
      yield due
    }
  }
}
