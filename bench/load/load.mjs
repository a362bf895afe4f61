// Peak memory and time of loading a model: bench/load/load.mjs [--model FOLDER] [--dtype bfloat16]. Without a folder, a random Llama of
// 1.1 billion parameters (the shape of TinyLlama) is made in build/bench/llama-1.1b. Run it after `npm run setup`.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { parseModelConfig } from '../../dist/model/architectures/read.js'
import { openModelFolder } from '../../dist/model/folder.js'
import { loadDecoder } from '../../dist/model/load.js'
import { parameterShapes } from '../../dist/model/parameters.js'
import { op } from '../../dist/tensor/operators.js'
import { writeSafetensors } from '../../dist/tensor/safetensors.js'
import { scope } from '../../dist/tensor/scope.js'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: join(import.meta.dirname, '../../build/bench/llama-1.1b') },
    dtype: { type: 'string', default: 'bfloat16' },
    measure: { type: 'boolean', default: false },
  },
})
const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 32000,
  hidden_size: 2048,
  intermediate_size: 5632,
  num_hidden_layers: 22,
  num_attention_heads: 32,
  num_key_value_heads: 4,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
  dtype: 'bfloat16',
}

if (values.measure) measure()
else {
  if (!existsSync(values.model)) makeModel(values.model)
  // a process of its own, so that its peak is that of loading
  spawnSync(process.execPath, [import.meta.filename, '--measure', '--model', values.model, '--dtype', values.dtype], {
    stdio: 'inherit',
  })
}

function makeModel(folder) {
  mkdirSync(folder, { recursive: true })
  const entry = (shape) => ({
    dtype: 'bfloat16',
    shape,
    load: () => scope(() => op.normal(op.empty(shape, 'float32'), 0, 0.02).to('bfloat16')),
  })
  const tensors = [...parameterShapes(parseModelConfig(config, 'config.json'))]
  writeSafetensors(
    join(folder, 'model.safetensors'),
    tensors.map(([name, shape]) => [name, entry(shape)]),
    { format: 'pt' },
  )
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config, null, 2))
}

function measure() {
  op.zeros([1], 'float32').dispose() // libtorch itself is not the model's
  const before = memory()
  const started = performance.now()
  const decoder = loadDecoder(openModelFolder(values.model), values.dtype)
  const seconds = (performance.now() - started) / 1000
  const after = memory()
  const size = [...decoder.parameters.values()].reduce(
    (sum, tensor) => sum + tensor.size * (tensor.dtype === 'float32' ? 4 : 2),
    0,
  )
  const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(3)} GB`
  console.log(`${values.model} in ${values.dtype}: ${gigabytes(size)}`)
  console.log(
    `peak while loading: ${gigabytes(after.peak - before.now)}, ${((after.peak - before.now) / size).toFixed(3)} x the model`,
  )
  console.log(
    `resident after: ${gigabytes(after.now - before.now)}; ${seconds.toFixed(1)} s, ${gigabytes(size / seconds)}/s`,
  )
}

/** Resident now and at most, in bytes, as Linux counts them. */
function memory() {
  const status = readFileSync('/proc/self/status', 'utf8')
  const of = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)[1]) * 1024
  return { now: of('VmRSS'), peak: of('VmHWM') }
}
