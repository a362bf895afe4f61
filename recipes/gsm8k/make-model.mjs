// Makes a Llama of about ten million parameters with fresh weights, and a byte-level BPE tokenizer of 2,048 tokens learnt from a JSONL file:
//   node recipes/gsm8k/make-model.mjs <rows.jsonl[.gz]> <folder>
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readFeedback } from '../../dist/data/read.js'
import { writeInitialWeights } from '../../dist/model/create.js'

const [file, folder] = process.argv.slice(2)
if (!file || !folder) {
  console.error('usage: node recipes/gsm8k/make-model.mjs <rows.jsonl[.gz]> <folder>')
  process.exit(1)
}
const vocabularySize = 2048
// As in GPT-2, but digits stand alone: then numbers of any length are spelt alike.
const pattern = ' ?[A-Za-z]+|[0-9]| ?[^\\sA-Za-z0-9]+|\\s+(?!\\S)|\\s+'

/** GPT-2's characters for bytes: printable ones stand for themselves, others for U+0100 and on. */
function byteCharacters() {
  let next = 256
  const printable = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte < 173) || (byte > 173 && byte < 256)
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
}

/** Byte pair encoding (Sennrich et al., arXiv 1508.07909): merges the most frequent neighbours until there are `count` tokens. */
function learnMerges(words, characters, count) {
  const spelt = [...words].map(([word, times]) => ({
    symbols: Array.from(Buffer.from(word), (byte) => characters[byte]),
    times,
  }))
  const merges = []
  while (characters.length + merges.length < count) {
    const pairs = new Map()
    for (const { symbols, times } of spelt) {
      for (let i = 1; i < symbols.length; i++) {
        const pair = `${symbols[i - 1]} ${symbols[i]}`
        pairs.set(pair, (pairs.get(pair) ?? 0) + times)
      }
    }
    const best = [...pairs].reduce((most, pair) => (pair[1] > most[1] ? pair : most))[0]
    const [left, right] = best.split(' ')
    merges.push(best)
    for (const word of spelt) {
      const { symbols } = word
      for (let i = 1; i < symbols.length; i++) {
        if (symbols[i - 1] === left && symbols[i] === right) symbols.splice(i - 1, 2, left + right)
      }
    }
  }
  return merges
}

const { rows } = await readFeedback([file], { onBadRow: 'error', needLabels: false })
const words = new Map()
for (const { prompt, completion } of rows.slice(0, 3000)) {
  for (const [word] of `${prompt} ${completion}`.matchAll(new RegExp(pattern, 'g')))
    words.set(word, (words.get(word) ?? 0) + 1)
}
const special = ['<s>', '</s>']
const characters = byteCharacters()
const merges = learnMerges(
  new Map([...words].filter(([, times]) => times > 1)),
  characters,
  vocabularySize - special.length,
)
const tokens = [...special, ...characters, ...merges.map((merge) => merge.replace(' ', ''))]
const bos = { SpecialToken: { id: '<s>', type_id: 0 } }
const text = { Sequence: { id: 'A', type_id: 0 } }
const tokenizer = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: special.map((content, id) => ({
    id,
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  })),
  normalizer: null,
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  },
  post_processor: {
    type: 'TemplateProcessing',
    single: [bos, text],
    pair: [bos, text],
    special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
  },
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
}
const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: tokens.length,
  hidden_size: 320,
  intermediate_size: 896,
  num_hidden_layers: 8,
  num_attention_heads: 5,
  num_key_value_heads: 5,
  max_position_embeddings: 1024,
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 1,
}
mkdirSync(folder, { recursive: true })
const files = {
  'config.json': config,
  'tokenizer.json': tokenizer,
  'tokenizer_config.json': { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>' },
}
for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(content, null, 2))
writeInitialWeights(folder, 0)
console.log(`${folder}: ${tokens.length} tokens, from ${rows.length} rows`)
