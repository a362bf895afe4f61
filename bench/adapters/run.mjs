// Trained adapters, between Prospect and PEFT in both directions: logits and merged weights of both, side by side.
//   node bench/adapters/run.mjs [python with torch, transformers, peft]
// Each adapter is trained with KTO by Prospect and loaded into PEFT; then one of the same configuration is trained by PEFT and loaded here. Ends with
// an error where logits are more than 1e-4 apart or merged weights more than 1e-6, or where a part of an adapter was never trained.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeObjective } from '../../dist/loss/index.js'
import { createAdapter } from '../../dist/model/adapters/adapter.js'
import { defaultAdapterConfig } from '../../dist/model/adapters/config.js'
import { saveAdapterFolder } from '../../dist/model/adapters/folder.js'
import { mergeAdapter } from '../../dist/model/adapters/merge.js'
import { segmentAttention } from '../../dist/model/attention.js'
import { streamTensors } from '../../dist/model/decoder.js'
import { openModelFolder } from '../../dist/model/folder.js'
import { loadDecoder, loadSource } from '../../dist/model/load.js'
import { modelShapes, openModel } from '../../dist/model/open.js'
import { readSafetensors, writeSafetensors } from '../../dist/tensor/safetensors.js'
import { noGrad, scope } from '../../dist/tensor/scope.js'
import { Tensor } from '../../dist/tensor/tensor.js'
import { AdamW } from '../../dist/train/optimizer.js'
import { sequenceLogps } from '../../dist/train/passes.js'
import { sequencesOf, trainStep } from '../../dist/train/step.js'

const models = fileURLToPath(new URL('../../test/golden/models/', import.meta.url))
const cases = {
  lora: ['llama3', { targetModules: ['q_proj', 'v_proj'] }],
  'all-linear': ['llama2', {}],
  rslora: ['llama3', { rslora: true, rankPattern: { v_proj: 3 }, alphaPattern: { q_proj: 5 } }],
  dora: ['llama1-sharded', { type: 'dora' }],
  'dora-lora_only': ['llama1-sharded', { type: 'dora', bias: 'lora_only', targetModules: '.*\\.(q_proj|down_proj)' }],
  modules_to_save: ['llama2', { modulesToSave: ['lm_head', 'input_layernorm'], targetModules: ['k_proj', 'up_proj'] }],
  'bias-all': ['llama1-sharded', { bias: 'all', targetModules: ['k_proj', 'gate_proj'] }],
}
const steps = 12
const adamW = { learningRate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 }
const row = tokens(24, 0)

const python = process.argv[2] ?? 'python3'
const folder = mkdtempSync(join(tmpdir(), 'prospect-peft-'))
try {
  const moved = {}
  for (const [name, [model, change]] of Object.entries(cases)) {
    const config = { ...defaultAdapterConfig, rank: 4, alpha: 8, ...change, base: join(models, model) }
    moved[name] = await train(config, join(folder, name))
  }
  const script = fileURLToPath(new URL('peft_side.py', import.meta.url))
  const paths = Object.keys(cases).map((name) => join(folder, name))
  const output = execFileSync(python, [script, ...paths], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, STEPS: `${steps}` },
  })
  const intoPeft = JSON.parse(output)
  for (const [i, name] of Object.keys(cases).entries()) {
    report(`${name}: trained by Prospect, loaded by PEFT`, moved[name], intoPeft[i])
    report(`${name}: trained by PEFT, loaded by Prospect`, intoPeft[i].moved, fromPeft(join(folder, name, 'peft')))
  }
} finally {
  rmSync(folder, { recursive: true })
}

function report(what, moved, { logits, merged }) {
  console.log(
    `${what.padEnd(56)} logits ${logits.toExponential(1)} apart (the adapter moves them by ${moved.toFixed(2)}), merged weights ${merged.toExponential(1)}`,
  )
  if (!(logits < 1e-4 && merged < 1e-6 && moved > 0.1))
    throw new Error(`${what}: not the same adapter, or not a trained one`)
}

/** Trains a fresh adapter of its configuration's base with KTO, writes it and what it computes; returns how far it moved a logit. */
async function train(config, path) {
  const source = openModelFolder(config.base)
  const base = loadDecoder(source, 'float32')
  const shapes = modelShapes(source.config)
  const adapter = createAdapter(config, shapes, 1, (name) => base.parameters.get(name))
  const decoder = base.withAdapter(adapter)
  for (const parameter of decoder.trainable.values()) parameter.withGrad()
  const valuesOf = () => new Map([...adapter.parameters].map(([name, tensor]) => [name, scope(() => tensor.toArray())]))
  const fresh = valuesOf()
  const objective = makeObjective({ type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 })
  const optimizer = new AdamW(decoder.trainable, adamW)
  const trainer = { decoder, objective, optimizer, compute: 'float32', microBatchTokens: 8192 }
  const batch = feedback(base)
  for (let step = 0; step < steps; step++) {
    const { notFinite } = trainStep(trainer, batch, 1)
    if (notFinite) throw new Error(`${path}: step ${step} is not finite`)
  }
  optimizer.dispose()
  for (const [name, values] of valuesOf())
    if (apart(values, fresh.get(name)) === 0) throw new Error(`${path}: ${name} was never trained`)
  await saveAdapterFolder(path, { adapter })
  writeFileSync(join(path, 'targets.json'), JSON.stringify(config.targetModules)) // as they were asked for
  const logits = logitsOf(decoder)
  const before = logitsOf(base)
  scope(() => {
    const merged = [...mergeAdapter(source.tensors, adapter, shapes).tensors]
    writeSafetensors(join(path, 'prospect.safetensors'), [
      ['tokens', Tensor.from(Int32Array.from(row))],
      ['logits', Tensor.from(logits)],
      ...merged.map(([name, tensor]) => [`merged/${name}`, tensor]),
    ])
  })
  decoder.dispose()
  base.dispose()
  return apart(logits, before)
}

/** Eight rows of random tokens, every other one with thumbs up, and their log-probabilities under the base. */
function feedback(base) {
  const rows = Array.from({ length: 8 }, (_, index) => ({
    index,
    promptGroup: index,
    completionGroup: index,
    prompt: Int32Array.from(tokens(6, index + 1)),
    completion: Int32Array.from([...tokens(9, index + 20), 2]),
    desirable: index % 2 === 0,
    origin: { file: 'rows', line: index + 1 },
  }))
  const mismatched = rows.map(({ prompt, promptGroup }, index) => ({
    prompt,
    promptGroup,
    completion: rows[(index + 7) % 8].completion,
    row: index,
  }))
  const weights = noGrad(() => scope(() => base.computeWeights('float32')))
  const referenceLogps = sequenceLogps(base, weights, sequencesOf(rows), 8192)
  const mismatchedReferenceLogps = sequenceLogps(base, weights, mismatched, 8192)
  return { rows, mismatched, referenceLogps, mismatchedReferenceLogps }
}

/** How far an adapter that PEFT trained is, loaded here, from what PEFT computes and merges. */
function fromPeft(path) {
  const source = openModel(path)
  const decoder = loadSource(source, 'float32')
  const { tensors } = readSafetensors(join(path, 'peft.safetensors'))
  const expected = (name) => scope(() => tensors.get(name).load().toArray())
  const logits = apart(logitsOf(decoder), expected('logits'))
  const merged = mergeAdapter(source.folder.tensors, decoder.adapter, modelShapes(source.folder.config)).tensors
  const worst = scope(() =>
    [...merged].reduce(
      (most, [name, tensor]) => Math.max(most, apart(tensor.load().toArray(), expected(`merged/${name}`))),
      0,
    ),
  )
  decoder.dispose()
  return { logits, merged: worst }
}

function logitsOf(decoder) {
  return scope(() =>
    noGrad(() => {
      const weights = decoder.computeWeights('float32')
      const attention = segmentAttention([{ start: 0, length: row.length, parent: -1 }])
      const stream = { tokens: Int32Array.from(row), positions: Int32Array.from(row.keys()) }
      return decoder.logits(weights, decoder.hidden(weights, streamTensors(stream), attention)).toArray()
    }),
  )
}

function apart(got, want) {
  if (got.length !== want.length) throw new Error(`lengths ${got.length} and ${want.length} differ`)
  return got.reduce((most, value, i) => Math.max(most, Math.abs(value - want[i])), 0)
}

function tokens(length, seed) {
  return Array.from({ length }, (_, i) => 3 + ((i * 37 + seed * 53 + i * i * seed) % 90))
}
