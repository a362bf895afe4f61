import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readTextFile } from '../options/files.ts'
import { ChatTemplates, readTemplates, type TemplateOptions } from './chat-template.ts'
import { createCore, plainEncoder, type TokenizerCore } from './tokenizer-core.ts'
import type { Message } from './types.ts'

/** A model's tokenizer and chat template, from its Hugging Face folder. */
export interface Tokenizer {
  /**
   * Token ids of a text; with `special`, those that the tokenizer puts around one (BOS, for many) too. With `continues`, of a text that
   * follows another: without the space that SentencePiece puts before every text.
   */
  encode(text: string, options?: { special?: boolean; continues?: boolean }): Int32Array
  /** The exact text: spaces before punctuation are kept, whatever `clean_up_tokenization_spaces` says. */
  decode(ids: ArrayLike<number>, options?: { skipSpecial?: boolean }): string
  /** The token before every text; null where the tokenizer sets none. */
  readonly bos: number | null
  /** The token that ends a completion. */
  readonly eos: number | null
  /** Tokens that end a reply: `eos` and those of generation_config.json. */
  readonly eosIds: readonly number[]
  /** What follows every prompt of a model that was trained to be conditioned on it (CSFT); null for others. */
  readonly control?: string | null
  /** null where the model has no chat template. */
  readonly chatTemplate: string | null
  /** The text of a conversation. Throws where there is no template, or the template refuses. */
  applyChatTemplate(messages: readonly Message[], options?: TemplateOptions): string
  /** SHA-256 of all that decides about token ids. */
  readonly hash: string
  /** What another thread loads the same tokenizer from. */
  readonly source?: { folder: string; options: TokenizerOptions }
}

/** The key of generation_config.json that holds `control`. */
export const controlKey = 'prospect_control'

type Json = Record<string, unknown>

export interface TokenizerOptions {
  /** A file with a Jinja chat template, used instead of the model's own. */
  chatTemplate?: string
}

/** Reads tokenizer.json and the files that go with it. */
export function loadTokenizer(folder: string, options: TokenizerOptions = {}): Tokenizer {
  const definition = definitionIn(folder)
  // Older folders name BOS and EOS only in special_tokens_map.json, and EOS only in config.json.
  const config = merged(folder, 'special_tokens_map.json', 'tokenizer_config.json')
  const generation = merged(folder, 'config.json', 'generation_config.json')
  const core = readCore(join(folder, definitionFile), definition, config)
  const encode = plainEncoder(core)
  const encodeWithSpecial = (text: string) => Int32Array.from(core.encode(text, { add_special_tokens: true }).ids)
  const encodeContinuation = continuationOf(core, encode)
  const ends = endsOf(core, config, generation, encodeWithSpecial('')[0])
  const sources = options.chatTemplate ? givenTemplate(options.chatTemplate) : readTemplates(folder, config)
  const templates = new ChatTemplates(sources, tokenTexts(config))
  let hash: string | undefined // of megabytes: made where it is asked for
  return {
    encode: (text, { special = false, continues = false } = {}) =>
      continues ? encodeContinuation(text) : special ? encodeWithSpecial(text) : encode(text),
    decode(ids, { skipSpecial = false } = {}) {
      if (ids.length === 0) return ''
      return core.decode(Array.from(ids), { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false })
    },
    ...ends,
    control: typeof generation[controlKey] === 'string' ? generation[controlKey] : null,
    chatTemplate: templates.main,
    applyChatTemplate: (messages, options) => templates.render(messages, options),
    source: { folder, options: options.chatTemplate === undefined ? {} : { chatTemplate: options.chatTemplate } },
    get hash() {
      hash ??= createHash('sha256')
        .update(JSON.stringify([definition, config, templates.all, ends.eosIds, generation[controlKey]]))
        .digest('hex')
      return hash
    },
  }
}

const definitionFile = 'tokenizer.json'

function definitionIn(folder: string): Json {
  const file = join(folder, definitionFile)
  if (existsSync(file)) return readJson(file) ?? {}
  throw new Error(
    `${folder}: no tokenizer.json. Where it has a tokenizer.model, convert it: python -c "from transformers import AutoTokenizer as T; ` +
      `T.from_pretrained('${folder}', use_fast=True).save_pretrained('${folder}')"`,
  )
}

/** BOS, where the tokenizer puts it before every text (`first`: what it puts before an empty one), and the tokens that end a reply. */
function endsOf(core: TokenizerCore, config: Json, generation: Json, first: number | undefined) {
  const named = (key: string) => {
    const token = tokenText(config[key])
    return token === null ? null : (core.token_to_id(token) ?? null)
  }
  const bosToken = named('bos_token')
  const generated = idsOf(generation.eos_token_id)
  const eos = named('eos_token') ?? generated[0] ?? null
  const eosIds = [...new Set([...(eos === null ? [] : [eos]), ...generated])]
  return { bos: first !== undefined && first === bosToken ? bosToken : null, eos, eosIds }
}

function readCore(file: string, definition: Json, config: Json): TokenizerCore {
  try {
    return createCore(definition, config)
  } catch (error) {
    throw new Error(`${file}: not a tokenizer that can be used: ${(error as Error).message}`)
  }
}

/**
 * Encodes a text as it would be encoded behind another one. Only SentencePiece's tokenizers, which begin every text with a space ("\u2581"),
 * need care: the text is put behind a line feed, which merges with nothing in them, and the line feed's tokens are taken off again.
 */
function continuationOf(core: TokenizerCore, encode: (text: string) => Int32Array): (text: string) => Int32Array {
  const first = encode('a')[0]
  const beginsWithSpace = first !== undefined && core.id_to_token(first)?.startsWith('\u2581')
  if (!beginsWithSpace) return encode
  const before = encode('\n')
  return (text) => {
    const ids = encode(`\n${text}`)
    return before.every((id, i) => ids[i] === id) ? ids.subarray(before.length) : encode(text)
  }
}

/** Special tokens are written as a text, or as {content: text, ...}. */
function tokenText(value: unknown): string | null {
  if (typeof value === 'string') return value
  const content = (value as { content?: unknown } | null | undefined)?.content
  return typeof content === 'string' ? content : null
}

function idsOf(value: unknown): number[] {
  return (Array.isArray(value) ? value : [value]).filter((id): id is number => typeof id === 'number')
}

/** All special tokens that have a name: `bos_token`, `pad_token`, ... BOS and EOS are empty where there are none, as older templates expect. */
function tokenTexts(config: Json): Record<string, string> {
  const named = Object.entries(config).flatMap(([key, value]) => {
    const text = key.endsWith('_token') ? tokenText(value) : null
    return text === null ? [] : [[key, text] as const]
  })
  return { bos_token: '', eos_token: '', ...Object.fromEntries(named) }
}

function givenTemplate(file: string): Map<string, string> {
  return new Map([['default', readTextFile('--chat-template', file)]])
}

/** The keys of both files; the second one's where both have them. */
function merged(folder: string, first: string, second: string): Json {
  return { ...readJson(join(folder, first)), ...readJson(join(folder, second)) }
}

function readJson(file: string): Json | null {
  if (!existsSync(file)) return null
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Json
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`)
  }
}
