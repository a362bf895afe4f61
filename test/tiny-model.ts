import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseModelConfig } from '../src/model/config.ts'
import { writeModelFiles } from '../src/model/folder.ts'
import { initialParameters } from '../src/model/parameters.ts'

/** The characters that stand for bytes in byte-level tokenizers (GPT-2): printable ones for themselves, others from U+0100 on. */
function byteCharacters(): string[] {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255)
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
}

export const bos = 256
export const eos = 257

/** Writes a tokenizer whose tokens are bytes, with <s> before each text and </s> as its end. */
export function writeByteTokenizer(folder: string, config: Record<string, unknown> = {}): void {
  const vocab = Object.fromEntries(byteCharacters().map((character, byte) => [character, byte]))
  const special = (id: number, content: string) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(bos, '<s>'), special(eos, '</s>')],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [bos], tokens: ['<s>'] } },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: { ...vocab, '<s>': bos, '</s>': eos },
      merges: [],
    },
  }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  const names = { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>', ...config }
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(names))
}

/** Writes a random Llama of about 40,000 parameters over bytes. */
export function writeTinyModel(folder: string, seed = 0): string {
  mkdirSync(folder, { recursive: true })
  const rawConfig = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: 258,
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 512,
    tie_word_embeddings: true,
    initializer_range: 0.1,
    bos_token_id: bos,
    eos_token_id: eos,
  }
  const parameters = initialParameters(parseModelConfig(rawConfig, 'tiny'), seed)
  writeModelFiles(folder, { source: { path: folder, rawConfig, companions: [] }, parameters, dtype: 'float32' })
  for (const parameter of parameters.values()) parameter.dispose()
  writeByteTokenizer(folder)
  return folder
}
