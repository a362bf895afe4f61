import * as library from '@huggingface/tokenizers'
import { type MergeTable, mergeTable } from './merges.ts'

const { BPE, ByteLevelPreTokenizer, SequencePreTokenizer } = library as unknown as Record<
  string,
  abstract new () => object
>

interface AddedToken {
  id: number
  content: string
  lstrip: boolean
  rstrip: boolean
}

interface PreTokenizer {
  pre_tokenize_text(text: string, options: { section_index: number }): string[]
}

interface Sequence {
  tokenizers: PreTokenizer[]
}

interface ByteLevel extends PreTokenizer {
  add_prefix_space: boolean
  use_regex: boolean
}

/** What is used of the library's tokenizer that its declarations do not show. */
interface Core {
  model: BpeModel
  normalizer: ((text: string) => string) | null
  pre_tokenizer: PreTokenizer | null
  added_tokens_map: Map<string, AddedToken>
  splitter_unnormalized: Splitter
  splitter_normalized: Splitter
  remove_space?: boolean
  do_lowercase_and_remove_accent?: boolean
}

export interface BpeModel {
  config: { merges: (string | [string, string])[]; dropout?: number | null }
  encode(words: string[]): string[]
  tokens_to_ids: Map<string, number>
  unk_token_id?: number
  fuse_unk: boolean
  ignore_merges: boolean
  end_of_word_suffix: string | null | undefined
  continuing_subword_suffix: string | null
}

interface Splitter {
  trie: Record<string, unknown>
  split(text: string): string[]
}

/** How words are cut from a text, and a word's bytes written as the vocabulary has them. */
export interface WordCutter {
  words(text: string, sectionIndex: number): readonly string[]
  characters(word: string): string
}

/**
 * Token ids of texts, those that the library gives without special tokens around them, ten times as fast: a text becomes words at once, and
 * each word's ids are found in a table of words that were seen before. null for models that are no byte-pair encodings or draw at random.
 */
export function wordEncoder(core: object, cutters: Cutters): ((text: string) => Int32Array) | null {
  const parts = core as Core
  const { model } = parts
  if (!(model instanceof BPE!) || model.config.dropout || parts.remove_space || parts.do_lowercase_and_remove_accent)
    return null
  const cutter = cutterOf(parts, cutters)
  const ids = new WordIds(model, cutter)
  const raw = splitterOf(parts.splitter_unnormalized)
  const normalized = splitterOf(parts.splitter_normalized)
  const added = parts.added_tokens_map
  const output = new Ids()
  const encodePart = (part: string, index: number) => {
    const start = output.length
    for (const word of cutter.words(part, index)) ids.pushTo(output, word)
    if (model.fuse_unk && model.unk_token_id !== undefined) output.fuse(start, model.unk_token_id)
  }
  const encodeSection = (section: string, index: number) => {
    for (const part of sections(section, normalized, added)) {
      const token = added.get(part)
      if (token) output.push(token.id)
      else if (part !== '') encodePart(part, index)
    }
  }
  return (text) => {
    output.length = 0
    for (const [index, section] of sections(text, raw, added).entries()) {
      const token = added.get(section)
      if (token) output.push(token.id)
      else if (section !== '') encodeSection(parts.normalizer?.(section) ?? section, index)
    }
    return output.taken()
  }
}

/** How texts are cut into words; given by who corrects the library's own ways. */
export interface Cutters {
  /** By a `ByteLevel`, without what it does to bytes. */
  byteLevel(part: object, text: string): readonly string[]
  characters(word: string): string
  /** Between characters that no merge joins; null where pieces are more than merges of characters. */
  between: ((text: string) => readonly string[]) | null
}

function cutterOf({ pre_tokenizer: part }: Core, { byteLevel, characters, between }: Cutters): WordCutter {
  const members = part instanceof SequencePreTokenizer! ? (part as unknown as Sequence).tokenizers : part ? [part] : []
  const last = members.at(-1)
  const cut = (pieces: readonly string[], member: PreTokenizer, section_index: number) =>
    pieces.length === 1
      ? member.pre_tokenize_text(pieces[0]!, { section_index })
      : pieces.flatMap((piece) => member.pre_tokenize_text(piece, { section_index }))
  if (last instanceof ByteLevelPreTokenizer!) {
    const { add_prefix_space: prefix, use_regex: regex } = last as unknown as ByteLevel
    const words = (text: string, index: number) => {
      const pieces = members.slice(0, -1).reduce((all: readonly string[], member) => cut(all, member, index), [text])
      return prefix || regex ? pieces.flatMap((piece) => byteLevel(last, piece)) : pieces
    }
    return { words, characters }
  }
  const words = (text: string, index: number) => {
    const pieces = part === null ? [text] : cut([text], part, index)
    return between ? pieces.flatMap(between) : pieces
  }
  return { words, characters: (word) => word }
}

/** Finds added tokens: the longest at the first place, as the library's own splitter does. null where there are none. */
function splitterOf({ trie }: Splitter): RegExp | null {
  const contents: string[] = []
  const walk = (node: Record<string, unknown>) => {
    for (const [key, child] of Object.entries(node))
      if (key === 'end') contents.push(child as string)
      else walk(child as Record<string, unknown>)
  }
  walk(trie)
  if (contents.length === 0) return null
  const longestFirst = contents.sort((a, b) => b.length - a.length)
  return new RegExp(longestFirst.map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|'), 'g')
}

/** A text cut at its added tokens, which take white space beside them where they say so. */
function sections(text: string, splitter: RegExp | null, added: ReadonlyMap<string, AddedToken>): string[] {
  const tokens = splitter === null ? null : text.match(splitter)
  if (tokens === null) return [text]
  const parts: string[] = []
  let at = 0
  for (const token of tokens) {
    const start = text.indexOf(token, at)
    parts.push(text.slice(at, start), token)
    at = start + token.length
  }
  parts.push(text.slice(at))
  const whole = parts.filter((part) => part !== '')
  for (const [i, part] of whole.entries()) {
    const token = added.get(part)
    if (token?.lstrip && i > 0) whole[i - 1] = whole[i - 1]!.trimEnd()
    if (token?.rstrip && i < whole.length - 1) whole[i + 1] = whole[i + 1]!.trimStart()
  }
  return whole
}

/** A list of ids that is used again for every text. */
class Ids {
  length = 0
  #values = new Int32Array(4096)

  push(id: number): void {
    if (this.length === this.#values.length) this.#grow(this.length * 2)
    this.#values[this.length++] = id
  }

  pushAll(ids: ArrayLike<number>): void {
    for (let i = 0; i < ids.length; i++) this.push(ids[i]!)
  }

  /** Neighbours from a place on that are both this id become one. */
  fuse(from: number, id: number): void {
    let end = from
    for (let i = from; i < this.length; i++)
      if (i === from || this.#values[i] !== id || this.#values[i - 1] !== id) this.#values[end++] = this.#values[i]!
    this.length = end
  }

  #grow(size: number): void {
    const values = new Int32Array(size)
    values.set(this.#values)
    this.#values = values
  }

  taken(): Int32Array {
    return this.#values.slice(0, this.length)
  }
}

const longestMerged = 256
const longestKept = 64
const mostKept = 400_000

/** Token ids of words, remembered. */
class WordIds {
  readonly #model: BpeModel
  readonly #cutter: WordCutter
  /** One id, for most words, or several. */
  readonly #known = new Map<string, number | Int32Array>()
  #merges: MergeTable | null | undefined

  constructor(model: BpeModel, cutter: WordCutter) {
    this.#model = model
    this.#cutter = cutter
  }

  pushTo(output: Ids, word: string): void {
    const known = this.#known.get(word)
    if (typeof known === 'number') output.push(known)
    else output.pushAll(known ?? this.#learn(word))
  }

  #learn(word: string): ArrayLike<number> {
    const ids = this.#idsOf(this.#cutter.characters(word))
    if (word.length > longestKept) return ids
    if (this.#known.size >= mostKept) this.#known.clear()
    // A part of a text keeps all of it in memory: the key is a copy, made so that halves of surrogate pairs survive.
    const key = word.length < 13 ? word : (JSON.parse(JSON.stringify(word)) as string)
    this.#known.set(key, ids.length === 1 ? ids[0]! : Int32Array.from(ids))
    return ids
  }

  #idsOf(characters: string): ArrayLike<number> {
    const { tokens_to_ids: vocabulary, ignore_merges: whole } = this.#model
    const id = whole ? vocabulary.get(characters) : undefined
    if (id !== undefined) return [id]
    this.#merges ??= mergeTable(this.#model)
    const merged = characters.length <= longestMerged ? this.#merges?.idsOf(characters) : null
    return (
      merged ?? this.#model.encode([characters]).map((token) => vocabulary.get(token) ?? this.#model.unk_token_id ?? 0)
    )
  }
}
