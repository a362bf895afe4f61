import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Tokenizer } from '../data/tokenizer.ts'
import type { Value } from './gguf-file.ts'

type Json = Record<string, unknown>

/** llama.cpp's kinds of tokens. */
const kinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

interface AddedToken {
  id: number
  content: string
  special: boolean
}

/** The parts of tokenizer.json that decide what llama.cpp needs. */
interface Definition {
  folder: string
  model: { type?: string; vocab: Record<string, number>; merges?: (string | [string, string])[] } & Json
  normalizer: Json | null
  preTokenizer: Json | null
  added: readonly AddedToken[]
}

export interface GgufTokenizer {
  metadata: Map<string, Value>
  /** Where llama.cpp may cut texts differently. */
  notes: string[]
}

/** A folder's tokenizer by the keys that llama.cpp reads; `rows` of the embedding have tokens, unused ones at the end. */
export function tokenizerMetadata(folder: string, tokenizer: Tokenizer, rows: number): GgufTokenizer {
  const definition = readDefinition(folder)
  const { model, pieces, notes } = kindOf(definition)
  const tokens = tokenList(definition, pieces, rows)
  const metadata = new Map<string, Value>([
    ['tokenizer.ggml.model', { type: 'string', value: model }],
    ['tokenizer.ggml.pre', { type: 'string', value: model === 'llama' ? 'default' : preTokenizerId(definition) }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens.map(({ text }) => text) }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: tokens.map(({ kind }) => kind) }],
  ])
  if (model === 'llama') {
    const scores = scoresOf(definition)
    metadata.set('tokenizer.ggml.scores', { type: 'f32s', value: tokens.map(({ text }) => scores.get(text) ?? -1e9) })
    metadata.set('tokenizer.ggml.add_space_prefix', { type: 'bool', value: addsSpace(definition) })
  } else
    metadata.set('tokenizer.ggml.merges', {
      type: 'strings',
      value: mergesOf(definition).map((pair) => pair.join(' ')),
    })
  addSpecials(metadata, definition, tokenizer)
  return { metadata, notes }
}

function readDefinition(folder: string): Definition {
  const file = join(folder, 'tokenizer.json')
  const json = JSON.parse(readFileSync(file, 'utf8')) as Json
  return {
    folder: file,
    model: json.model as Definition['model'],
    normalizer: (json.normalizer ?? null) as Json | null,
    preTokenizer: (json.pre_tokenizer ?? null) as Json | null,
    added: (json.added_tokens ?? []) as AddedToken[],
  }
}

/** `gpt2` for pieces of bytes, `llama` for SentencePiece's pieces of characters. */
function kindOf(definition: Definition): { model: 'gpt2' | 'llama'; pieces: boolean; notes: string[] } {
  const { model, folder } = definition
  if (model.type !== 'BPE')
    throw new Error(`${folder}: llama.cpp has no tokenizer for decoders with a ${model.type} model; it has BPE's only`)
  if (withinSequence(definition.preTokenizer).some(({ type }) => type === 'ByteLevel'))
    return { model: 'gpt2', pieces: false, notes: composingNotes(definition) }
  if (!model.byte_fallback)
    throw new Error(
      `${folder}: neither BPE of bytes (ByteLevel) nor SentencePiece's (byte_fallback), so llama.cpp cannot have it`,
    )
  return { model: 'llama', pieces: true, notes: pieceNotes(definition) }
}

function withinSequence(part: Json | null): Json[] {
  if (part === null) return []
  const members = (part.pretokenizers ?? part.normalizers) as Json[] | undefined
  return members ? members.flatMap(withinSequence) : [part]
}

/** The patterns that llama.cpp knows, by how tokenizer.json writes them. */
const splitPatterns: readonly (readonly [pattern: string, id: string])[] = [
  [String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`, 'llama-bpe'],
  [String.raw`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`, 'qwen2'],
]
const contractions = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`

/** What llama.cpp calls the way a text is cut into words. Throws where it knows no such way. */
function preTokenizerId({ preTokenizer, model, folder }: Definition): string {
  const parts = withinSequence(preTokenizer)
  const [first, second] = parts
  if (parts.length === 1 && first!.use_regex !== false) return 'gpt-2'
  if (parts.length === 2 && first!.type === 'Digits' && first!.individual_digits && second!.use_regex !== false)
    return 'smollm'
  const pattern = first!.type === 'Split' ? (first!.pattern as { Regex?: string }).Regex : undefined
  const known = splitPatterns.find(([rest]) => pattern === contractions + rest)?.[1]
  if (parts.length === 2 && known) return known === 'llama-bpe' && !model.ignore_merges ? 'smaug-bpe' : known
  throw new Error(
    `${folder}: llama.cpp is not known to cut texts into words as its pre_tokenizer does: ${JSON.stringify(preTokenizer).slice(0, 300)}`,
  )
}

function tokenList(
  { model, added, folder }: Definition,
  pieces: boolean,
  rows: number,
): { text: string; kind: number }[] {
  const tokens: { text: string; kind: number }[] = []
  const place = (id: number, text: string, kind: number) => {
    if (id >= rows)
      throw new Error(`${folder}: token ${JSON.stringify(text)} has id ${id}, but the model has ${rows} embeddings`)
    tokens[id] = { text, kind }
  }
  for (const [text, id] of Object.entries(model.vocab)) {
    const byte = pieces && /^<0x[0-9A-F]{2}>$/.test(text)
    place(id, text, byte ? kinds.byte : kinds.normal)
  }
  for (const { id, content, special } of added) {
    const plain = pieces ? content.replaceAll('\u2581', ' ') : content // llama.cpp looks for it in the text itself
    if (special) place(id, content, content === model.unk_token ? kinds.unknown : kinds.control)
    else place(id, plain, kinds.userDefined)
  }
  return Array.from({ length: rows }, (_, id) => tokens[id] ?? { text: `[PAD${id}]`, kind: kinds.unused })
}

function mergesOf({ model }: Definition): [string, string][] {
  return (model.merges ?? []).map((merge) => (Array.isArray(merge) ? merge : (merge.split(' ', 2) as [string, string])))
}

/** SentencePiece joins the pair whose product has the highest score: minus the place of the first merge that makes it. */
function scoresOf(definition: Definition): Map<string, number> {
  const scores = new Map<string, number>()
  for (const [place, pair] of mergesOf(definition).entries()) {
    const product = pair.join('')
    if (!scores.has(product)) scores.set(product, -place)
  }
  return scores
}

function composingNotes({ normalizer }: Definition): string[] {
  const composes = withinSequence(normalizer).some(({ type }) => type === 'NFC')
  return composes
    ? ['llama.cpp does not compose characters (NFC): give it composed texts, as keyboards do, for the same tokens']
    : []
}

/** llama.cpp may join any two pieces whose product is one; tokenizer.json only those it lists. SentencePiece's own vocabularies list all. */
function pieceNotes(definition: Definition): string[] {
  const merges = mergesOf(definition)
  const listed = new Set(merges.map((pair) => pair.join(' ')))
  const { vocab } = definition.model
  const unlisted = merges.some(([left, right]) => {
    const characters = Array.from(left + right)
    return characters.slice(1).some((_, i) => {
      const [a, b] = [characters.slice(0, i + 1).join(''), characters.slice(i + 1).join('')]
      return Object.hasOwn(vocab, a) && Object.hasOwn(vocab, b) && !listed.has(`${a} ${b}`)
    })
  })
  return unlisted
    ? ['the tokenizer was not made by SentencePiece, which llama.cpp takes it for: it may cut some words differently']
    : []
}

/** Whether a space is put before every text. */
function addsSpace({ normalizer, preTokenizer }: Definition): boolean {
  if (withinSequence(normalizer).some(({ type }) => type === 'Prepend')) return true
  const metaspace = withinSequence(preTokenizer).find(({ type }) => type === 'Metaspace')
  return metaspace !== undefined && metaspace.prepend_scheme !== 'never' && metaspace.add_prefix_space !== false
}

function addSpecials(metadata: Map<string, Value>, definition: Definition, tokenizer: Tokenizer): void {
  const { unk_token: unknown } = definition.model
  const idOf = (token: unknown) => (typeof token === 'string' ? (definition.model.vocab[token] ?? null) : null)
  const set = (key: string, value: number | null) => {
    if (value !== null) metadata.set(`tokenizer.ggml.${key}_token_id`, { type: 'u32', value })
  }
  set('bos', tokenizer.bos)
  set('eos', tokenizer.eos)
  set('unknown', idOf(unknown))
  metadata.set('tokenizer.ggml.add_bos_token', { type: 'bool', value: tokenizer.bos !== null })
  metadata.set('tokenizer.ggml.add_eos_token', { type: 'bool', value: false })
  if (tokenizer.chatTemplate !== null)
    metadata.set('tokenizer.chat_template', { type: 'string', value: tokenizer.chatTemplate })
}
