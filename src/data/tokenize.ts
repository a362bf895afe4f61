import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import type { TemplateOptions } from './chat-template.ts'
import { HashNumbering } from './columns.ts'
import { DataError, originText } from './origin.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Example, FeedbackRow, Message } from './types.ts'

export interface TokenizeOptions {
  /** Longest prompt and completion together, in tokens. */
  maxLength: number
  /** Longest prompt, in tokens, where the row is over `maxLength`. */
  maxPromptLength: number
  /** Where a prompt that is too long is cut: at its start (default), or its end. */
  cut?: 'prompt-start' | 'prompt-end'
  /** A row that would be cut or skipped is an error. */
  strict: boolean
  /** A row that cannot be tokenised ends the work, or is skipped and counted. */
  onBadRow: 'error' | 'skip'
  /** Texts that follow the prompt, by label. */
  control?: { desirable: string; undesirable: string }
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

export function emptyTokenizeFacts(): TokenizeFacts {
  return { promptsCut: 0, completionsCut: 0, cut: [], skipped: 0, skippedBecause: [] }
}

/** Rows as the model sees them. Cuts and skips are counted; nothing else is changed or left out. */
export async function tokenizeRows(
  rows: readonly FeedbackRow[],
  tokenizer: Tokenizer,
  options: TokenizeOptions,
): Promise<{ examples: Example[]; facts: { tokenizing: TokenizeFacts } }> {
  const facts = emptyTokenizeFacts()
  const prompts = new HashNumbering()
  const completions = new HashNumbering()
  const numberOf = (numbering: HashNumbering, ids: Int32Array) =>
    numbering.of(createHash('sha256').update(ids).digest())
  const examples: Example[] = []
  for (const [i, row] of rows.entries()) {
    if (i % 500 === 0) {
      options.progress?.(i, rows.length)
      await setImmediate()
    }
    const tokens = tokenizeRow(row, tokenizer, options, facts)
    if (!tokens) continue
    const { prompt, completion } = tokens
    examples.push({
      index: examples.length,
      promptGroup: numberOf(prompts, prompt),
      completionGroup: numberOf(completions, completion),
      prompt,
      completion,
      desirable: row.label,
      origin: row.origin,
      ...(row.weight !== undefined && { weight: row.weight }),
      ...(row.pair !== undefined && { pair: row.pair }),
    })
  }
  options.progress?.(rows.length, rows.length)
  return { examples, facts: { tokenizing: facts } }
}

export interface Tokens {
  prompt: Int32Array
  completion: Int32Array
  promptCut: boolean
  completionCut: boolean
}

/** A row's tokens, cut to length; null for a row that is skipped. Counts into `facts`. Throws DataError where skipping is not allowed. */
export function tokenizeRow(
  row: FeedbackRow,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
  facts: TokenizeFacts,
): Tokens | null {
  try {
    const { control } = options
    const tokens = tokensOf(row, control ? { ...tokenizer, control: null } : tokenizer)
    const text = control && (row.label ? control.desirable : control.undesirable)
    return cutToLength(text ? controlled(tokens, text, tokenizer) : tokens, tokenizer.bos, row, options, facts)
  } catch (error) {
    const wrong = error instanceof DataError ? error : new DataError(row.origin, (error as Error).message)
    if (options.onBadRow === 'error' || options.strict) throw wrong
    facts.skipped++
    if (facts.skippedBecause.length < kept) facts.skippedBecause.push(wrong.message)
    return null
  }
}

type WholeTokens = Pick<Tokens, 'prompt' | 'completion'>

/** A row's tokens before anything is cut. */
export function tokensOf({ prompt, completion, tools }: FeedbackRow, tokenizer: Tokenizer): WholeTokens {
  if (typeof prompt === 'string') {
    const text = typeof completion === 'string' ? completion : onlyText(completion)
    const reply = tokenizer.encode(text, { continues: true })
    return { prompt: encodePrompt(prompt, tokenizer), completion: closed(reply, tokenizer) }
  }
  const turns = typeof completion === 'string' ? [{ role: 'assistant', content: completion }] : completion
  const before = tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true, ...withTools(tools) })
  const whole = tokenizer.applyChatTemplate([...prompt, ...turns], withTools(tools))
  if (!whole.startsWith(before)) {
    throw new Error(
      "the chat template renders the prompt differently when the reply follows, so the reply's tokens are not known",
    )
  }
  const reply = tokenizer.encode(whole.slice(before.length), { continues: true })
  return { prompt: encodeText(before, tokenizer, false), completion: closed(endedAtEos(reply, tokenizer), tokenizer) }
}

function withTools(tools: FeedbackRow['tools']): Pick<TemplateOptions, 'tools'> {
  return tools ? { tools: tools as TemplateOptions['tools'] } : {}
}

function controlled({ prompt, completion }: WholeTokens, text: string, tokenizer: Tokenizer): WholeTokens {
  return { prompt: withControl(prompt, text, tokenizer), completion }
}

/** A prompt's tokens followed by those of a control text. */
export function withControl(prompt: Int32Array, text: string, tokenizer: Tokenizer): Int32Array {
  return Int32Array.of(...prompt, ...tokenizer.encode(text, { continues: true }))
}

/** A completion of one message beside a prompt that is a text. */
function onlyText(completion: readonly Message[]): string {
  if (completion.length !== 1 || typeof completion[0]!.content !== 'string')
    throw new Error('completion is not one message of text, but prompt is a text: make both lists of messages')
  return completion[0]!.content
}

/**
 * A prompt as the model sees it, in training, evaluation and sampling alike: a text with the tokenizer's BOS, if it sets one; messages
 * through the chat template (with the tools that it may show), which writes its own special tokens; then the text that the model is conditioned on, if any. BOS is never doubled.
 * At least one token.
 */
export function encodePrompt(
  prompt: string | readonly Message[],
  tokenizer: Tokenizer,
  tools?: FeedbackRow['tools'],
): Int32Array {
  const options = { addGenerationPrompt: true, ...withTools(tools) }
  const text = typeof prompt === 'string' ? prompt : tokenizer.applyChatTemplate(prompt, options)
  return encodeText(text, tokenizer, typeof prompt === 'string')
}

function encodeText(text: string, tokenizer: Tokenizer, withBos: boolean): Int32Array {
  const ids = tokenizer.encode(text)
  const needsBos = withBos && tokenizer.bos !== null && ids[0] !== tokenizer.bos
  const result = needsBos ? Int32Array.of(tokenizer.bos!, ...ids) : ids
  if (result.length === 0) throw new Error('the prompt has no tokens')
  return tokenizer.control ? withControl(result, tokenizer.control, tokenizer) : result
}

/** Templates end a turn with EOS and often a line feed: such a feed is never generated, so it is not trained on. */
function endedAtEos(ids: Int32Array, tokenizer: Tokenizer): Int32Array {
  const end = ids.findLastIndex((id) => tokenizer.eosIds.includes(id)) + 1
  return end > 0 && tokenizer.decode(ids.subarray(end)).trim() === '' ? ids.subarray(0, end) : ids
}

/** With EOS at its end. */
function closed(ids: Int32Array, { eos, eosIds }: Tokenizer): Int32Array {
  if (ids.length > 0 && eosIds.includes(ids.at(-1)!)) return ids
  if (eos === null && ids.length === 0)
    throw new Error('the completion is empty, and the tokenizer has no EOS token to train on')
  return eos === null ? ids : Int32Array.of(...ids, eos)
}

/** Too long: first the prompt loses its beginning (but BOS stays) or its end, down to `maxPromptLength`; then the completion its end. */
function cutToLength(
  tokens: WholeTokens,
  bos: number | null,
  { origin }: FeedbackRow,
  options: TokenizeOptions,
  facts: TokenizeFacts,
): Tokens {
  let { prompt, completion } = tokens
  const { maxLength, maxPromptLength, strict, cut = 'prompt-start' } = options
  const length = prompt.length + completion.length
  if (length <= maxLength) return { ...tokens, promptCut: false, completionCut: false }
  if (maxLength < 2)
    throw new DataError(origin, `--max-length ${maxLength} leaves no room for a prompt and a completion`)
  if (strict)
    throw new DataError(origin, `the row has ${length} tokens, over --max-length ${maxLength}, and --strict is set`)
  const promptLimit = Math.min(maxPromptLength, maxLength - 1)
  const promptCut = prompt.length > promptLimit
  if (promptCut) {
    prompt = cut === 'prompt-end' ? prompt.slice(0, promptLimit) : withoutBeginning(prompt, promptLimit, bos)
    facts.promptsCut++
  }
  const completionCut = prompt.length + completion.length > maxLength
  if (completionCut) {
    completion = completion.subarray(0, maxLength - prompt.length)
    facts.completionsCut++
  }
  if (facts.cut.length < kept) facts.cut.push(`${originText(origin)}: ${length} tokens`)
  return { prompt, completion, promptCut, completionCut }
}

function withoutBeginning(prompt: Int32Array, limit: number, bos: number | null): Int32Array {
  const rest = prompt.slice(-limit)
  if (prompt[0] === bos) rest[0] = bos!
  return rest
}
