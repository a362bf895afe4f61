import { setImmediate } from 'node:timers/promises'
import { Random } from './random.ts'
import { DataError } from './read.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Example, FeedbackRow, Message } from './types.ts'

export interface TokenizeOptions {
  /** Longest prompt and completion together, in tokens. */
  maxLength: number
  /** Longest prompt, in tokens, where the row is over `maxLength`. */
  maxPromptLength: number
  /** A row that would be cut is an error. */
  strict: boolean
  /** A row that cannot be tokenised ends the work, or is skipped and counted. */
  onBadRow: 'error' | 'skip'
  progress?: (done: number, total: number) => void
}

/** What was done to rows on their way to examples. */
export interface TokenizeFacts {
  /** Prompts that lost tokens at their beginning. */
  promptsCut: number
  /** Completions that lost tokens, EOS among them, at their end. */
  completionsCut: number
  /** The first few rows that were cut. */
  cut: string[]
  skipped: number
  skippedBecause: string[]
}

const kept = 10

/** Rows as the model sees them. Cuts and skips are counted; nothing else is changed or left out. */
export async function tokenizeRows(
  rows: readonly FeedbackRow[],
  tokenizer: Tokenizer,
  options: TokenizeOptions,
): Promise<{ examples: Example[]; facts: { tokenizing: TokenizeFacts } }> {
  const facts: TokenizeFacts = { promptsCut: 0, completionsCut: 0, cut: [], skipped: 0, skippedBecause: [] }
  const prompts = new Numbering()
  const completions = new Numbering()
  const examples: Example[] = []
  for (const [i, row] of rows.entries()) {
    if (i % 500 === 0) {
      options.progress?.(i, rows.length)
      await setImmediate()
    }
    const tokens = tokensOrSkip(row, tokenizer, options, facts)
    if (!tokens) continue
    const { prompt, completion } = tokens
    const groups = { promptGroup: prompts.of(prompt), completionGroup: completions.of(completion) }
    examples.push({ index: examples.length, ...groups, prompt, completion, desirable: row.label, origin: row.origin })
  }
  options.progress?.(rows.length, rows.length)
  return { examples, facts: { tokenizing: facts } }
}

/** Gives equal token ids equal numbers. */
class Numbering {
  readonly #numbers = new Map<string, number>()

  of(ids: Int32Array): number {
    const key = ids.join()
    const known = this.#numbers.get(key)
    if (known !== undefined) return known
    this.#numbers.set(key, this.#numbers.size)
    return this.#numbers.size - 1
  }
}

interface Tokens {
  prompt: Int32Array
  completion: Int32Array
}

function tokensOrSkip(
  row: FeedbackRow,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
  facts: TokenizeFacts,
): Tokens | null {
  try {
    return cutToLength(tokensOf(row, tokenizer), row, options, facts)
  } catch (error) {
    const wrong = error instanceof DataError ? error : new DataError(row.origin, (error as Error).message)
    if (options.onBadRow === 'error') throw wrong
    facts.skipped++
    if (facts.skippedBecause.length < kept) facts.skippedBecause.push(wrong.message)
    return null
  }
}

function tokensOf({ prompt, completion }: FeedbackRow, tokenizer: Tokenizer): Tokens {
  if (typeof prompt === 'string') {
    const text = typeof completion === 'string' ? completion : onlyText(completion)
    return { prompt: encodePrompt(prompt, tokenizer), completion: closed(tokenizer.encode(text), tokenizer) }
  }
  const turns = typeof completion === 'string' ? [{ role: 'assistant', content: completion }] : completion
  const before = tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true })
  const whole = tokenizer.applyChatTemplate([...prompt, ...turns])
  if (!whole.startsWith(before)) {
    throw new Error(
      "the chat template renders the prompt differently when the reply follows, so the reply's tokens are not known",
    )
  }
  const reply = tokenizer.encode(whole.slice(before.length))
  return { prompt: encodePrompt(prompt, tokenizer), completion: closed(endedAtEos(reply, tokenizer), tokenizer) }
}

/** A completion of one message beside a prompt that is a text. */
function onlyText(completion: readonly Message[]): string {
  if (completion.length !== 1)
    throw new Error(`completion has ${completion.length} messages, but prompt is a text: make both messages`)
  return completion[0]!.content
}

/**
 * A prompt as the model sees it, in training, evaluation and sampling alike: a text with the tokenizer's BOS, if it sets one; messages
 * through the chat template, which writes its own special tokens. BOS is never doubled. At least one token.
 */
export function encodePrompt(prompt: string | readonly Message[], tokenizer: Tokenizer): Int32Array {
  const text = typeof prompt === 'string' ? prompt : tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true })
  const ids = tokenizer.encode(text)
  const needsBos = tokenizer.bos !== null && ids[0] !== tokenizer.bos && typeof prompt === 'string'
  const result = needsBos ? Int32Array.of(tokenizer.bos!, ...ids) : ids
  if (result.length === 0) throw new Error('the prompt has no tokens')
  return result
}

/** Templates end a turn with EOS and often a line feed: what follows EOS is never generated, so it is not trained on. */
function endedAtEos(ids: Int32Array, { eosIds }: Tokenizer): Int32Array {
  const last = ids.findLastIndex((id) => eosIds.includes(id))
  return last < 0 ? ids : ids.subarray(0, last + 1)
}

/** With EOS at its end. */
function closed(ids: Int32Array, { eos, eosIds }: Tokenizer): Int32Array {
  if (ids.length > 0 && eosIds.includes(ids.at(-1)!)) return ids
  if (eos === null && ids.length === 0)
    throw new Error('the completion is empty, and the tokenizer has no EOS token to train on')
  return eos === null ? ids : Int32Array.of(...ids, eos)
}

/** Too long: first the prompt loses its beginning, down to `maxPromptLength`; then the completion its end. */
function cutToLength(tokens: Tokens, { origin }: FeedbackRow, options: TokenizeOptions, facts: TokenizeFacts): Tokens {
  let { prompt, completion } = tokens
  const { maxLength, maxPromptLength, strict } = options
  const length = prompt.length + completion.length
  if (length <= maxLength) return tokens
  if (maxLength < 2)
    throw new DataError(origin, `--max-length ${maxLength} leaves no room for a prompt and a completion`)
  if (strict)
    throw new DataError(origin, `the row has ${length} tokens, over --max-length ${maxLength}, and --strict is set`)
  const promptLimit = Math.min(maxPromptLength, maxLength - 1)
  if (prompt.length > promptLimit) {
    prompt = prompt.subarray(prompt.length - promptLimit)
    facts.promptsCut++
  }
  if (prompt.length + completion.length > maxLength) {
    completion = completion.subarray(0, maxLength - prompt.length)
    facts.completionsCut++
  }
  if (facts.cut.length < kept) facts.cut.push(`${origin.file}:${origin.line}: ${length} tokens`)
  return { prompt, completion }
}

/**
 * Holds out whole prompts, about `share` of them (at least one where there are two), chosen by `seed`. Both parts are numbered anew.
 */
export function splitByPrompt(
  examples: readonly Example[],
  share: number,
  seed: number,
): { train: Example[]; heldOut: Example[] } {
  const prompts = [...new Set(examples.map(({ promptGroup }) => promptGroup))]
  const wanted = share === 0 || prompts.length < 2 ? 0 : Math.max(1, Math.round(share * prompts.length))
  const order = new Random('split', seed).permutation(prompts.length)
  const chosen = new Set(Array.from(order.subarray(0, wanted), (position) => prompts[position]!))
  const part = (held: boolean) =>
    examples
      .filter(({ promptGroup }) => chosen.has(promptGroup) === held)
      .map((example, index) => ({ ...example, index }))
  return { train: part(false), heldOut: part(true) }
}
