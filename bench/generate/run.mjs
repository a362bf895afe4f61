// Tokens/s of `prospect generate` beside transformers' generate(), at the shape of SmolLM2-135M: 64 prompts of mixed lengths, and 64 that share a long
// beginning. Both answer greedily with the same number of tokens, in the same precision, with as many threads; they take turns. Prompts go to transformers
// sorted by length, in batches of each of the sizes given, of which the fastest counts.
//
//   node bench/generate/run.mjs [--python /path/to/python] [--repeats 3] [--new-tokens 64] [--precision float32,bfloat16] [--threads 2] [--batches 16,32,64]
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: given } = parseArgs({
  options: {
    python: { type: 'string', default: 'python3' },
    repeats: { type: 'string', default: '3' },
    'new-tokens': { type: 'string', default: '64' },
    precision: { type: 'string', default: 'float32,bfloat16' },
    threads: { type: 'string', default: '2' },
    prompts: { type: 'string', default: '64' },
    batches: { type: 'string', default: '16,32,64' },
    only: { type: 'string' },
  },
})
const here = fileURLToPath(new URL('.', import.meta.url))
const work = mkdtempSync(join(tmpdir(), 'prospect-bench-generate-'))
const model = join(work, 'model')

function writeModel() {
  mkdirSync(model)
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10000.0,
    hidden_act: 'silu',
    tie_word_embeddings: true,
    initializer_range: 0.08,
    bos_token_id: 0,
    eos_token_id: 0,
  }
  writeFileSync(join(model, 'config.json'), JSON.stringify(config))
}

/** Reproducible numbers below a bound. */
function randomBelow() {
  let state = 12345
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
}

function promptSets() {
  const below = randomBelow()
  const tokens = (count) => Array.from({ length: count }, () => 3 + below(49000))
  const count = Number(given.prompts)
  const beginning = tokens(512)
  return {
    'mixed lengths': Array.from({ length: count }, () => tokens(16 + Math.floor(384 * (below(1000) / 1000) ** 2))),
    'long shared beginning': Array.from({ length: count }, () => [...beginning, ...tokens(8 + below(32))]),
  }
}

function json(program, args, environment = {}) {
  const { stdout, stderr, status } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, ...environment },
  })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}:\n${stderr}`)
  return JSON.parse(stdout.trim().split('\n').at(-1))
}

const common = (prompts, dtype) => [
  ...['--model', model, '--prompts', prompts, '--new-tokens', given['new-tokens']],
  ...['--dtype', dtype, '--threads', given.threads],
]

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

try {
  writeModel()
  json(process.execPath, [join(here, 'prospect_generate.mjs'), '--initialise', model])
  for (const dtype of given.precision.split(',')) {
    for (const [name, prompts] of Object.entries(promptSets())) {
      if (given.only && !name.includes(given.only)) continue
      const file = join(work, 'prompts.json')
      writeFileSync(file, JSON.stringify(prompts))
      const batches = given.batches.split(',')
      const speeds = { prospect: [], ...Object.fromEntries(batches.map((batch) => [batch, []])) }
      let same = 0
      for (let i = 0; i < Number(given.repeats); i++) {
        const ours = json(process.execPath, [join(here, 'prospect_generate.mjs'), ...common(file, dtype)])
        speeds.prospect.push(ours.tokens / ours.seconds)
        for (const batch of batches) {
          const script = [join(here, 'transformers_generate.py'), ...common(file, dtype), '--batch', batch]
          const theirs = json(given.python, script)
          speeds[batch].push(theirs.tokens / theirs.seconds)
          same = ours.replies.filter((reply, row) => reply.join() === theirs.replies[row].join()).length
        }
      }
      const best = batches.reduce((one, other) => (median(speeds[other]) > median(speeds[one]) ? other : one))
      const [ours, theirs] = [median(speeds.prospect), median(speeds[best])]
      console.log(
        JSON.stringify({
          dtype,
          prompts: name,
          promptTokens: prompts.flat().length,
          prospectTokensPerSecond: Math.round(ours),
          transformersTokensPerSecond: Math.round(theirs),
          ratio: Number((ours / theirs).toFixed(2)),
          ratios: speeds.prospect.map((speed, i) => Number((speed / speeds[best][i]).toFixed(2))),
          transformersByBatch: Object.fromEntries(batches.map((batch) => [batch, Math.round(median(speeds[batch]))])),
          equalReplies: `${same} of ${prompts.length}`,
        }),
      )
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true })
}
