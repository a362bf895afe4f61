import * as library from '@huggingface/tokenizers'
import { CharacterMap } from './precompiled.ts'
import { type Cutters, wordEncoder } from './word-encoder.ts'

// Its declarations name these classes in a way that TypeScript's own resolution for Node does not follow.
const {
  BertNormalizer,
  BPE,
  ByteFallbackDecoder,
  ByteLevelPreTokenizer,
  DigitsPreTokenizer,
  PrecompiledNormalizer,
  SplitPreTokenizer,
  WhitespacePreTokenizer,
  WhitespaceSplitPreTokenizer,
} = library as unknown as Record<string, abstract new () => object>

export type TokenizerCore = library.Tokenizer
type Json = Record<string, unknown>

/**
 * Hugging Face's tokenizer in JavaScript, made to agree with the one that models are trained with (Python's and Rust's `tokenizers`) where
 * it does not by itself. Each correction has a text in test/golden that shows it.
 */
export function createCore(definition: Json, config: Json): TokenizerCore {
  refuseUnsupported(definition)
  const { model, late } = withoutMerges(definition.model)
  const core = new library.Tokenizer(
    { ...definition, model, pre_tokenizer: withMetaspaceSplit(definition.pre_tokenizer) },
    config,
  )
  late(core.model)
  const parts = [core.normalizer, core.pre_tokenizer, core.decoder].flatMap(withinSequences)
  for (const part of parts) correct(part)
  if (core.model instanceof BPE!) speedUp(core.model, core.pre_tokenizer)
  return core
}

/**
 * The library makes a text of each of a model's merges, hundreds of thousands, before it reads a word; most words never need them, since ids are
 * merged elsewhere. So it gets none, and the merges (`late`) when it is first asked to merge.
 */
function withoutMerges(model: unknown): { model: unknown; late(made: object): void } {
  const { type, merges } = (model ?? {}) as { type?: string; merges?: (string | [string, string])[] }
  if (type !== 'BPE' || !Array.isArray(merges)) return { model, late: () => {} }
  const late = (made: object) => {
    const internals = made as unknown as BpeInternals
    internals.config.merges = merges
    const merge = internals.bpe.bind(made)
    internals.bpe = (token) => {
      const pairs = merges.map((pair) => (Array.isArray(pair) ? pair : (pair.split(' ', 2) as [string, string])))
      internals.merges = pairs
      internals.bpe_ranks = new Map(pairs.map((pair, rank) => [JSON.stringify(pair), rank]))
      internals.bpe = merge
      return merge(token)
    }
  }
  return { model: { ...(model as object), merges: [] }, late }
}

function refuseUnsupported({ added_tokens: added }: Json): void {
  const word = (Array.isArray(added) ? added : []).find((token: Json) => token?.single_word)
  if (word) throw new Error(`the added token ${JSON.stringify(word.content)} has single_word, which is not supported`)
}

/**
 * `Metaspace` cuts before every "\u2581" unless `split` is false, where the library never cuts; and older files say `add_prefix_space` for
 * `prepend_scheme`.
 */
function withMetaspaceSplit(part: unknown): unknown {
  const config = part as (Json & { type?: string; pretokenizers?: unknown[] }) | null | undefined
  if (config?.type === 'Sequence') return { ...config, pretokenizers: config.pretokenizers?.map(withMetaspaceSplit) }
  if (config?.type !== 'Metaspace') return part
  const scheme = config.prepend_scheme ?? (config.add_prefix_space === false ? 'never' : 'always')
  const metaspace = { ...config, prepend_scheme: scheme }
  if (config.split === false) return metaspace
  const pattern = { String: config.replacement ?? '\u2581' }
  const before = { type: 'Split', pattern, behavior: 'MergedWithNext', invert: false }
  return { type: 'Sequence', pretokenizers: [metaspace, before] }
}

/** A part and, where it is a sequence, its members. */
function withinSequences(part: unknown): object[] {
  if (typeof part !== 'object' && typeof part !== 'function') return []
  if (part === null) return []
  const { normalizers, tokenizers, decoders } = part as Record<'normalizers' | 'tokenizers' | 'decoders', unknown>
  const members = [normalizers, tokenizers, decoders].find(Array.isArray) as unknown[] | undefined
  return [part, ...(members ?? []).flatMap(withinSequences)]
}

function correct(part: object): void {
  if (part instanceof ByteLevelPreTokenizer!) Object.assign(part, byteLevelCorrection(part))
  else if (part instanceof WhitespaceSplitPreTokenizer!) Object.assign(part, matching(/\P{White_Space}+/gu))
  else if (part instanceof WhitespacePreTokenizer!) Object.assign(part, matching(words))
  else if (part instanceof DigitsPreTokenizer!) Object.assign(part, { pattern: digits(part) })
  else if (part instanceof SplitPreTokenizer!) Object.assign(part, splitCorrection(part))
  else if (part instanceof PrecompiledNormalizer!) Object.assign(part, precompiledCorrection(part))
  else if (part instanceof BertNormalizer!) Object.assign(part, { tokenize_chinese_chars: spacedIdeographs })
  else if (part instanceof ByteFallbackDecoder!) Object.assign(part, { text_decoder: bytesOrMarks })
}

// GPT-2's pattern. White space is Unicode's: JavaScript's \s lacks U+0085 and has U+FEFF.
const gpt2Words =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

// Oniguruma's \w+|[^\w\s]+
const words = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{White_Space}]+/gu
const matching = (pattern: RegExp) => ({ pre_tokenize_text: (text: string) => text.match(pattern) ?? [] })

/** The same words, and their bytes from a table: most of the time of encoding is spent here. */
function byteLevelCorrection(part: object): object {
  return { pre_tokenize_text: (text: string) => byteLevelWords(part, text).map(byteCharacters) }
}

function byteLevelWords(part: object, text: string): readonly string[] {
  const { add_prefix_space: prefix, use_regex: split } = part as { add_prefix_space?: boolean; use_regex?: boolean }
  const whole = prefix && !text.startsWith(' ') ? ` ${text}` : text
  return split ? (whole.match(gpt2Words) ?? []) : [whole]
}

/** GPT-2's printable stand-in for each byte: itself where it is printable, else one from U+0100 on. */
const standIns = (() => {
  const printable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173)
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
})()

function byteCharacters(word: string): string {
  if (/^[!-~]*$/.test(word)) return word
  let result = ''
  for (const byte of Buffer.from(word)) result += standIns[byte]
  return result
}

/** Digits are all of Unicode's numbers, as Rust's `is_numeric` has them; JavaScript's \d are ten. */
function digits(part: object): RegExp {
  const { individual_digits: individual } = (part as unknown as { config: { individual_digits?: boolean } }).config
  return individual ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu
}

/** The behaviours of `Split` that the library takes for `Isolated`. */
function splitCorrection(part: object): object {
  const { config, pattern } = part as unknown as { config: { behavior?: string; invert?: boolean }; pattern: RegExp }
  const behavior = config.behavior?.replace(/[_ ]/g, '').toLowerCase()
  if (config.invert || !pattern) return {}
  switch (behavior) {
    case 'mergedwithprevious':
      return { pre_tokenize_text: (text: string) => cut(text, endsOf(text, pattern)) }
    case 'mergedwithnext':
      return { pre_tokenize_text: (text: string) => cut(text, startsOf(text, pattern)) }
    case 'contiguous':
      return {
        pre_tokenize_text: (text: string) => text.split(new RegExp(`((?:${pattern.source})+)`, 'u')).filter(Boolean),
      }
    case 'isolated':
      return { pre_tokenize_text: (text: string) => isolated(text, pattern) }
    default:
      return {}
  }
}

/** Matches and what is between them. Most patterns leave nothing between: then the matches are all, and found twice as fast. */
function isolated(text: string, pattern: RegExp): readonly string[] {
  const matches = text.match(pattern) ?? []
  let covered = 0
  for (const match of matches) covered += match.length
  if (covered === text.length) return matches.filter(Boolean)
  const places = Array.from(text.matchAll(pattern), ({ index, 0: match }) => [index, index + match.length])
  return cut(text, places.flat())
}

const startsOf = (text: string, pattern: RegExp) => Array.from(text.matchAll(pattern), ({ index }) => index)
const endsOf = (text: string, pattern: RegExp) =>
  Array.from(text.matchAll(pattern), ({ index, 0: match }) => index + match.length)

function cut(text: string, places: readonly number[]): string[] {
  return [0, ...places].map((begin, i) => text.slice(begin, places[i] ?? text.length)).filter(Boolean)
}

function precompiledCorrection(part: object): object {
  const { charsmap } = part as unknown as { charsmap: string | null }
  if (!charsmap) return {}
  const map = new CharacterMap(charsmap)
  return { normalize: (text: string) => map.normalize(text) }
}

/** Spaces around ideographs, those beyond U+FFFF too. The ranges are those of BERT. */
function spacedIdeographs(text: string): string {
  return text.replace(
    /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu,
    ' $& ',
  )
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** A run of byte tokens is a text as a whole, a byte order mark included, or as many U+FFFD as it has bytes. */
const bytesOrMarks = {
  decode(bytes: Uint8Array): string {
    try {
      return strict.decode(bytes)
    } catch {
      return '\ufffd'.repeat(bytes.length)
    }
  },
}

interface BpeInternals {
  config: { merges: (string | [string, string])[] }
  merges: [string, string][]
  bpe_ranks: Map<string, number>
  bpe(token: string): string[]
  encode(words: string[]): string[]
  cache: { get(word: string): string[] | undefined; put(word: string, pieces: string[]): void; clear(): void }
  ignore_merges: boolean
  end_of_word_suffix: string | null
  continuing_subword_suffix: string | null
}

/** Ids of texts without special tokens around them. */
export function plainEncoder(core: TokenizerCore): (text: string) => Int32Array {
  const slow = (text: string) => Int32Array.from(core.encode(text, { add_special_tokens: false }).ids)
  return wordEncoder(core, { byteLevel: byteLevelWords, characters: byteCharacters, between: betweenOf(core) }) ?? slow
}

function betweenOf({ model }: TokenizerCore): Cutters['between'] {
  if (!(model instanceof BPE!)) return null
  const { config, ignore_merges, end_of_word_suffix, continuing_subword_suffix } = model as unknown as BpeInternals
  if (ignore_merges || end_of_word_suffix || continuing_subword_suffix) return null
  let pairs: ReadonlySet<number> | undefined
  return (text) => {
    pairs ??= innerPairs(config.merges)
    return cutBetween(text, pairs)
  }
}

/** The same ids, sooner: words are remembered, and where the pre-tokenizer leaves long texts whole, they are cut. */
function speedUp(model: object, preTokenizer: unknown): void {
  const internals = model as unknown as BpeInternals
  internals.cache = new WordCache()
  const { ignore_merges, end_of_word_suffix, continuing_subword_suffix } = internals
  const cutsWords = withinSequences(preTokenizer).some((part) => part instanceof ByteLevelPreTokenizer!)
  if (cutsWords || ignore_merges || end_of_word_suffix || continuing_subword_suffix) return
  const encode = internals.encode.bind(model)
  const pairs = innerPairs(internals.config.merges)
  internals.encode = (words) => encode(words.flatMap((word) => cutBetween(word, pairs)))
}

class WordCache {
  readonly #words = new Map<string, string[]>()

  get(word: string): string[] | undefined {
    return this.#words.get(word)
  }

  put(word: string, pieces: string[]): void {
    if (this.#words.size >= 200_000) this.#words.clear()
    this.#words.set(word, pieces)
  }

  clear(): void {
    this.#words.clear()
  }
}

const pairOf = (text: string, i: number) => text.charCodeAt(i - 1) * 65536 + text.charCodeAt(i)

/** All pairs of neighbouring UTF-16 units within what merges make. */
function innerPairs(merges: BpeInternals['config']['merges']): ReadonlySet<number> {
  const pairs = new Set<number>()
  for (const merge of merges) {
    const product = Array.isArray(merge) ? merge.join('') : merge.replace(' ', '')
    for (let i = 1; i < product.length; i++) pairs.add(pairOf(product, i))
  }
  return pairs
}

/** Cuts a text between characters that are neighbours in no merge's product, so that no merge could join them. */
function cutBetween(text: string, pairs: ReadonlySet<number>): string[] {
  const pieces: string[] = []
  let begin = 0
  for (let i = 1; i < text.length; i++) {
    const lowSurrogate = (text.charCodeAt(i) & 0xfc00) === 0xdc00
    if (lowSurrogate || pairs.has(pairOf(text, i))) continue
    pieces.push(text.slice(begin, i))
    begin = i
  }
  pieces.push(text.slice(begin))
  return pieces
}
