// Saves a random model of over 5 GB, prints its shards, and has transformers load them: every tensor must have the bits that were saved.
//   node bench/load/shards.mjs [--python <a Python with torch and transformers>]
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { parseModelConfig } from '../../dist/model/architectures/read.js'
import { saveModelFolder } from '../../dist/model/folder.js'
import { parameterShapes } from '../../dist/model/parameters.js'
import { op } from '../../dist/tensor/operators.js'

const { values } = parseArgs({ options: { python: { type: 'string' } } })
const rawConfig = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  max_position_embeddings: 2048,
  hidden_size: 3072,
  intermediate_size: 8192,
  num_hidden_layers: 26,
  num_attention_heads: 24,
  num_key_value_heads: 8,
  vocab_size: 32000,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
}
const folder = mkdtempSync(join(tmpdir(), 'prospect-shards-'))
try {
  const source = join(folder, 'source')
  mkdirSync(source)
  // Each tensor holds one number, by its place: cheap to make, and to tell from another.
  const shapes = [...parameterShapes(parseModelConfig(rawConfig, 'random'))]
  const parameters = new Map(shapes.map(([name, shape], i) => [name, op.full(shape, i + 1, 'bfloat16')]))
  const began = performance.now()
  await saveModelFolder(join(folder, 'model'), {
    source: { path: source, rawConfig, companions: [] },
    parameters,
    dtype: 'bfloat16',
  })
  console.log(`saved in ${((performance.now() - began) / 1000).toFixed(0)} s`)
  for (const file of readdirSync(join(folder, 'model')))
    console.log(`${file}: ${(statSync(join(folder, 'model', file)).size / 1e9).toFixed(3)} GB`)
  const expected = Object.fromEntries(shapes.map(([name], i) => [name, i + 1]))
  for (const tensor of parameters.values()) tensor.dispose()
  if (values.python) {
    const check = `
import json, sys, torch
from transformers import AutoModelForCausalLM
expected = json.loads(sys.argv[2])
weights = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16).state_dict()
assert weights.keys() == expected.keys()
for name, value in expected.items():
    assert weights[name].dtype == torch.bfloat16 and bool((weights[name] == torch.tensor(value, dtype=torch.bfloat16)).all()), name
print(f"transformers: {len(expected)} tensors, all as saved")
`
    console.log(
      execFileSync(values.python, ['-c', check, join(folder, 'model'), JSON.stringify(expected)], {
        encoding: 'utf8',
      }).trim(),
    )
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
