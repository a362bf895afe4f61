import { promptParts } from './prompts.ts'
import { replyParts } from './replies.ts'

/** Tokens that are not text, at their ids. */
export const specialTokens = ['<pad>', '<bos>', '<eos>', '<unk>'] as const

// A token is a word, a number or a mark with the space before it: so tokens join to the text again without a rule for spaces.
const pattern = ' ?[A-Za-z]+| ?[0-9]+| ?[^A-Za-z0-9 ]| '

/** The tokens of all texts of the shop in a fixed order; a token's place is its id. */
export function vocabulary(): string[] {
  const { first, next } = promptParts()
  const texts = [...first, ...[...next, ...replyParts()].map((text) => ` ${text}`)]
  const tokens = new Set(texts.flatMap((text) => text.match(new RegExp(pattern, 'g')) ?? []))
  tokens.delete(' ') // of the empty parts
  return [...specialTokens, ...[...tokens].sort()]
}

/** A Hugging Face `tokenizer.json` of whole words; every encoding starts with <bos>. */
export function tokenizerJson(): object {
  const [, bos, , unk] = specialTokens
  const start = { SpecialToken: { id: bos, type_id: 0 } }
  const sequence = (id: 'A' | 'B') => ({ Sequence: { id, type_id: 0 } })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
    post_processor: {
      type: 'TemplateProcessing',
      single: [start, sequence('A')],
      pair: [start, sequence('A'), sequence('B')],
      special_tokens: { [bos]: { id: bos, ids: [specialTokens.indexOf(bos)], tokens: [bos] } },
    },
    decoder: { type: 'Fuse' },
    model: {
      type: 'WordLevel',
      vocab: Object.fromEntries(vocabulary().map((token, id) => [token, id])),
      unk_token: unk,
    },
  }
}

// A reply follows its prompt after a space, as in rows of plain text: both ways give the same ids.
const chatTemplate =
  "{{ bos_token }}{% for message in messages %}{% if message.role == 'assistant' %} {{ message.content }}{{ eos_token }}" +
  '{% else %}{{ message.content }}{% endif %}{% endfor %}'

/** The `tokenizer_config.json` beside it. */
export function tokenizerConfig(): object {
  const [pad_token, bos_token, eos_token, unk_token] = specialTokens
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: 128,
    clean_up_tokenization_spaces: false,
    pad_token,
    bos_token,
    eos_token,
    unk_token,
    chat_template: chatTemplate,
  }
}
