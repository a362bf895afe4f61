// Does llama.cpp say what we say? For each architecture: a random model with the tokenizer of test/golden/tokenizers, exported as GGUF and loaded
// by llama.cpp (the prebuilt one of the npm package node-llama-cpp, too large for a dependency of this project). Compares token ids of texts, and
// greedy continuations. Random models are as sensitive as models can be: what rounding changes, shows. `trained` is one that has learnt 32 replies
// by heart, to compare the types of fewer bits.
//   npm install --prefix /tmp/llama node-llama-cpp @node-llama-cpp/linux-x64 --ignore-scripts
//   node bench/gguf/run.mjs --llama /tmp/llama [--types f32,f16,q8_0] [--tokens 32] [architecture...]
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { loadTokenizer } from '../../dist/data/tokenizer.js'
import { exportModel } from '../../dist/export/export.js'
import { train } from '../../dist/index.js'
import { sample } from '../../dist/infer/sample.js'
import { writeInitialWeights } from '../../dist/model/create.js'
import { loadDecoder } from '../../dist/model/load.js'
import { noGrad } from '../../dist/tensor/scope.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    llama: { type: 'string' },
    types: { type: 'string', default: 'f32,f16,q8_0' },
    tokens: { type: 'string', default: '32' },
  },
})
if (!values.llama) {
  console.error(
    '--llama <folder with node_modules/node-llama-cpp> is needed; the head of this file says how to make one',
  )
  process.exit(1)
}
const shape = {
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  initializer_range: 0.25,
  max_position_embeddings: 512,
}
const grouped = { ...shape, num_key_value_heads: 2, rms_norm_eps: 1e-5 }
const llama3Rope = {
  rope_type: 'llama3',
  rope_theta: 500000,
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
}
const longFactors = Array.from({ length: 8 }, (_, i) => 1 + i / 4)
const models = {
  llama2: { tokenizer: 'llama2', config: { model_type: 'llama', ...grouped } },
  llama3: {
    tokenizer: 'llama3',
    config: {
      model_type: 'llama',
      ...grouped,
      head_dim: 32,
      tie_word_embeddings: true,
      rope_scaling: llama3Rope,
      rope_theta: 500000,
    },
  },
  smollm: { tokenizer: 'smollm', config: { model_type: 'llama', ...grouped, tie_word_embeddings: true } },
  mistral: { tokenizer: 'mistral', config: { model_type: 'mistral', ...grouped, sliding_window: null } },
  qwen2: { tokenizer: 'qwen3', config: { model_type: 'qwen2', ...grouped } },
  qwen3: { tokenizer: 'qwen3', config: { model_type: 'qwen3', ...grouped, head_dim: 32 } },
  'gpt-neox': {
    tokenizer: 'pythia',
    config: { model_type: 'gpt_neox', ...shape, hidden_act: 'gelu', rotary_pct: 0.25 },
  },
  gemma2: {
    tokenizer: 'gemma',
    config: {
      model_type: 'gemma2',
      ...grouped,
      initializer_range: 0.05,
      head_dim: 32,
      query_pre_attn_scalar: 32,
      sliding_window: 16,
    },
    train: true,
  },
  gemma3: {
    tokenizer: 'gemma',
    config: {
      model_type: 'gemma3_text',
      ...grouped,
      initializer_range: 0.05,
      head_dim: 32,
      query_pre_attn_scalar: 32,
      sliding_window: 16,
    },
    train: true,
  },
  phi3: { tokenizer: 'phi3', config: { model_type: 'phi3', ...grouped, pad_token_id: 0 } },
  trained: { tokenizer: 'smollm', config: { model_type: 'llama', ...grouped, initializer_range: 0.05 }, train: true },
  'phi3-longrope': {
    tokenizer: 'phi3',
    config: {
      model_type: 'phi3',
      ...grouped,
      pad_token_id: 0,
      original_max_position_embeddings: 256,
      rope_scaling: {
        type: 'longrope',
        short_factor: longFactors,
        long_factor: longFactors.map((factor) => factor * 3),
      },
    },
  },
}
const golden = fileURLToPath(new URL('../../test/golden/tokenizers', import.meta.url))
const { texts } = JSON.parse(gunzipSync(readFileSync(join(golden, 'texts.json.gz'))).toString())
const folder = mkdtempSync(join(tmpdir(), 'prospect-gguf-'))
const count = Number(values.tokens)
let failed = false
for (const name of positionals.length > 0 ? positionals : Object.keys(models)) {
  for (const type of values.types.split(',')) await compare(name, models[name], type)
}
rmSync(folder, { recursive: true })
process.exit(failed ? 1 : 0)

async function compare(name, { tokenizer: family, config, train: trained }, type) {
  const model = join(folder, name)
  mkdirSync(model, { recursive: true })
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    copyFileSync(join(golden, family, file), join(model, file))
  const tokenizer = loadTokenizer(model)
  const rows = Object.keys(JSON.parse(readFileSync(join(model, 'tokenizer.json'), 'utf8')).model.vocab).length + 32
  writeFileSync(join(model, 'config.json'), JSON.stringify({ ...config, vocab_size: Math.ceil(rows / 32) * 32 }))
  if (!existsSync(join(model, 'model.safetensors'))) {
    writeInitialWeights(model, 7)
    if (trained) await learnByHeart(model)
  }
  const file = join(folder, `${name}-${type}.gguf`)
  const notes = []
  await exportModel(
    { model, gguf: type, output: file, private: false },
    { progress: { start: () => ({ update() {}, stop() {} }), log: (line) => notes.push(line) } },
  )
  const prompts = comparedPrompts()
  const bos = tokenizer.bos === null ? [] : [tokenizer.bos]
  const starts = prompts.map((text) => Int32Array.from([...bos, ...tokenizer.encode(text)]))
  const { ids: theirIds, replies: other } = askLlama({ file, texts, prompts: starts.map((ids) => [...ids]), count })
  const wrongTexts = texts.filter((text, i) => tokenizer.encode(text).join() !== theirIds[i].join())
  const ours = await greedyHere(model, starts)
  const equal = ours.filter((tokens, i) => tokens.join() === other[i].join()).length
  const shared = ours
    .map((tokens, i) => tokens.findIndex((token, at) => token !== other[i][at]))
    .filter((at) => at >= 0)
  if (type === 'f32' && equal < ours.length) failed = true
  console.log(
    `${name.padEnd(14)} ${type.padEnd(5)} ids of ${texts.length - wrongTexts.length} of ${texts.length} texts equal; ` +
      `greedy: ${equal} of ${ours.length} continuations of ${count} tokens (${new Set(ours.flat()).size} different ones) equal${shared.length ? `, the others up to token ${shared.join(', ')}` : ''}` +
      `${notes.length ? `\n  ${notes.join('\n  ')}` : ''}`,
  )
  if (process.env.SHOW)
    for (const [i, tokens] of ours.entries())
      if (tokens.join() !== other[i].join()) console.log(tokens.join(), '\n', other[i].join(), tokenizer.eosIds)
  if (process.env.SHOW)
    for (const text of wrongTexts.slice(0, 5))
      console.log(JSON.stringify(text), tokenizer.encode(text).join(), theirIds[texts.indexOf(text)].join())
}

/** Trains the model of a folder on 32 replies and puts the result in its place. */
async function learnByHeart(model) {
  const prompts = comparedPrompts()
  const rows = Array.from({ length: 32 }, (_, i) => ({
    prompt: prompts[i % 8],
    completion: texts.filter((text) => text.length > 60)[i % 8],
    label: true,
  }))
  const data = join(folder, 'rows.jsonl')
  writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const options = { model, data, output: `${model}-run`, loss: { type: 'sft' }, epochs: 60, batchSize: 8 }
  const more = {
    optimizer: { learningRate: 3e-3 },
    evaluation: { split: 0 },
    samples: { prompts: 0 },
    precision: 'float32',
  }
  const run = await train({ ...options, ...more })
  let last
  for await (const step of run) last = step
  console.log(`trained: loss ${last.loss.toPrecision(2)} after ${last.step} steps`)
  copyFileSync(join((await run.finished).model, 'model.safetensors'), join(model, 'model.safetensors'))
}

function comparedPrompts() {
  return texts.filter((text) => text.length > 20 && text.length < 60).slice(0, 8)
}

async function greedyHere(model, prompts) {
  const decoder = loadDecoder(model, 'float32')
  const replies = []
  const settings = { maxTokens: count, greedy: true, temperature: 1, topP: 1, seed: 0, stop: [], overflow: 'shorten' }
  const weights = noGrad(() => decoder.computeWeights('float32'))
  for await (const { index, tokens } of sample(decoder, weights, prompts, settings)) replies[index] = [...tokens]
  decoder.dispose()
  return replies
}

function askLlama(job) {
  const path = join(folder, 'job.json')
  writeFileSync(path, JSON.stringify(job))
  const script = fileURLToPath(new URL('llama.mjs', import.meta.url))
  return JSON.parse(
    execFileSync(process.execPath, [script, values.llama, path], { encoding: 'utf8', maxBuffer: 1 << 28 }),
  )
}
