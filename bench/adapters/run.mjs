// Adapters that Prospect makes, read by PEFT: logits and merged weights of both, side by side.
//   node bench/adapters/run.mjs [python with torch, transformers, peft]
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createAdapter, disposeAdapter } from '../../dist/model/adapters/adapter.js'
import { defaultAdapterConfig } from '../../dist/model/adapters/config.js'
import { saveAdapterFolder } from '../../dist/model/adapters/folder.js'
import { mergeAdapter } from '../../dist/model/adapters/merge.js'
import { segmentAttention } from '../../dist/model/attention.js'
import { streamTensors } from '../../dist/model/decoder.js'
import { openModelFolder } from '../../dist/model/folder.js'
import { loadDecoder } from '../../dist/model/load.js'
import { modelShapes } from '../../dist/model/open.js'
import { op } from '../../dist/tensor/operators.js'
import { writeSafetensors } from '../../dist/tensor/safetensors.js'
import { noGrad, scope } from '../../dist/tensor/scope.js'
import { Tensor } from '../../dist/tensor/tensor.js'

const models = fileURLToPath(new URL('../../test/golden/models/', import.meta.url))
const cases = {
  lora: ['llama3', {}],
  rslora: ['llama3', { rslora: true, targetModules: ['q_proj', 'v_proj'], rankPattern: { v_proj: 3 } }],
  dora: ['llama1-sharded', { type: 'dora', bias: 'lora_only', targetModules: '.*\\.(q_proj|down_proj)' }],
  full: [
    'llama2',
    { modulesToSave: ['lm_head', 'input_layernorm'], bias: 'all', layers: [1], targetModules: ['k_proj'] },
  ],
}

const python = process.argv[2] ?? 'python3'
const folder = mkdtempSync(join(tmpdir(), 'prospect-peft-'))
try {
  for (const [name, [model, change]] of Object.entries(cases)) {
    const path = join(folder, name)
    await make(join(models, model), path, { ...defaultAdapterConfig, rank: 4, alpha: 8, ...change })
    const script = fileURLToPath(new URL('into_peft.py', import.meta.url))
    const output = execFileSync(python, [script, path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    console.log(name.padEnd(8), output.trim())
  }
} finally {
  rmSync(folder, { recursive: true })
}

/** A random adapter of a model, its logits of a row, and a merged weight. */
async function make(model, path, config) {
  const source = openModelFolder(model)
  const base = loadDecoder(source, 'float32')
  const shapes = modelShapes(source.config)
  const adapter = createAdapter({ ...config, base: model }, shapes, 0, (name) => base.parameters.get(name))
  scope(() => {
    for (const tensor of adapter.parameters.values())
      op.addInPlace(tensor, op.uniform(op.empty(tensor.shape, 'float32'), -0.2, 0.2))
  })
  await saveAdapterFolder(path, { adapter })
  const decoder = base.withAdapter(adapter)
  const tokens = Int32Array.from({ length: 24 }, (_, i) => 3 + ((i * 37) % 90))
  const positions = tokens.map((_, i) => i)
  scope(() =>
    noGrad(() => {
      const weights = decoder.computeWeights('float32')
      const attention = segmentAttention([{ start: 0, length: tokens.length, parent: -1 }])
      const logits = decoder.logits(weights, decoder.hidden(weights, streamTensors({ tokens, positions }), attention))
      const merged = [...mergeAdapter(source.tensors, adapter, shapes).tensors]
      writeSafetensors(join(path, 'prospect.safetensors'), [
        ['tokens', Tensor.from(tokens)],
        ['logits', logits],
        ...merged.map(([name, tensor]) => [`merged/${name}`, tensor]),
      ])
    }),
  )
  disposeAdapter(adapter)
  base.dispose()
}
