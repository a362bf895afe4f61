import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { specialTokens, tokenizerConfig, tokenizerJson, vocabulary } from './tokenizer.ts'

const ids = {
  pad_token_id: specialTokens.indexOf('<pad>'),
  bos_token_id: specialTokens.indexOf('<bos>'),
  eos_token_id: specialTokens.indexOf('<eos>'),
}

/** The `config.json` of a Llama decoder of about two million parameters. */
export function demoModelConfig(vocabularySize: number): object {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocabularySize,
    hidden_size: 256,
    intermediate_size: 1024,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 64,
    hidden_act: 'silu',
    rms_norm_eps: 1e-6,
    tie_word_embeddings: true,
    attention_bias: false,
    mlp_bias: false,
    attention_dropout: 0,
    max_position_embeddings: 128,
    initializer_range: 0.02,
    rope_theta: 10000,
    torch_dtype: 'float32',
    ...ids,
  }
}

/** Writes all of a model folder but the weights: configuration, tokenizer and the defaults of generation. */
export function writeDemoFolder(folder: string): void {
  mkdirSync(folder, { recursive: true })
  const files = {
    'config.json': demoModelConfig(vocabulary().length),
    'generation_config.json': { ...ids, do_sample: true, temperature: 1, max_new_tokens: 32 },
    'tokenizer.json': tokenizerJson(),
    'tokenizer_config.json': tokenizerConfig(),
  }
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), `${JSON.stringify(content, null, 2)}\n`)
  }
}
