// Whether models of 30 billion weights train on one card: two steps on random weights, which are made in memory, and what was allocated for them,
// beside what docs/memory.md has by calculation.
//   node bench/gpu/allocate.mjs [--device cuda:0] [--cases lora-141gb,qlora-48gb] [--shape 32b] [--tokens 16384]
import { parseArgs } from 'node:util'
import { parseModelConfig } from '../../dist/model/architectures/read.js'
import { parameterShapes } from '../../dist/model/parameters.js'
import { deviceMemory, resetDevicePeak, setDeviceMath } from '../../dist/tensor/device.js'
import { inspectEngine, memoryUse, resetPeakMemory, setThreads } from '../../dist/tensor/engine.js'
import { op } from '../../dist/tensor/operators.js'
import { outsideScopes, scope } from '../../dist/tensor/scope.js'
import { planMemory } from '../../dist/train/memory-plan.js'
import { adapterConfigOf } from '../../dist/train/policy.js'
import { twoSteps } from '../memory/steps.mjs'
import { configOf } from './settings.mjs'

/** `card`: bytes of the card that it is to fit; `pass`: tokens of one pass. */
const known = {
  'lora-141gb': { card: 141e9, pass: 16384 },
  'qlora-48gb': { card: 48e9, pass: 4096, loadIn: '4bit' },
}
const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    cases: { type: 'string', default: Object.keys(known).join(',') },
    shape: { type: 'string', default: '32b' },
    tokens: { type: 'string' }, // of one pass, in place of the case's
  },
})
const { device } = values
setThreads(null)
inspectEngine()
setDeviceMath(device, { tf32: false, deterministic: false })
const source = randomSource(configOf(values.shape))
const gigabytes = (bytes) => (bytes / 1e9).toFixed(1)
let failed = false
console.log(
  '| case | tokens a pass | loaded, GB | peak, GB | with what libtorch keeps | by calculation | card | s a step |',
)
console.log('|---|---|---|---|---|---|---|---|')
for (const name of values.cases.split(',')) {
  if (!known[name]) throw new Error(`--cases: ${name} is not known; known are ${Object.keys(known).join(', ')}`)
  console.log(`| ${(await measured(name)).join(' | ')} |`)
}
process.exit(failed ? 1 : 0)

async function measured(name) {
  const { card, loadIn, pass } = known[name]
  const microBatchTokens = Number(values.tokens ?? pass)
  const tokens = Math.min(2048, microBatchTokens / 2)
  const [batch, adapter] = [(2 * microBatchTokens) / tokens, { type: 'lora', rank: 16 }] // two passes
  const plan = planMemory({
    ...{ config: source.folder.config, adapter: adapterConfigOf({ adapter, loadIn }, source), loadIn },
    ...{ compute: 'bfloat16', referenceCopy: false, tokens: microBatchTokens, onePass: false },
  })
  const sizes = { batch, tokens, microBatchTokens, device, adapter, loadIn, gradientCheckpointing: true }
  resetPeak()
  let loaded = 0
  const seconds = await twoSteps(source, sizes, () => {
    loaded = memory().now
  })
  const { peak, reserved } = memory()
  failed ||= reserved > card
  const figures = [loaded, peak, reserved, plan.checkpointed, card].map(gigabytes)
  return [`${values.shape} ${name}`, microBatchTokens, ...figures, seconds.toFixed(1)]
}

function memory() {
  const used = deviceMemory(device)
  if (used) return { now: used.allocated, peak: used.peakAllocated, reserved: used.peakReserved }
  const { live, peak, cached } = memoryUse()
  return { now: live, peak, reserved: peak + cached }
}

function resetPeak() {
  resetPeakMemory()
  resetDevicePeak(device)
}

/** A model whose files are not there: each weight is made as it is read, from random numbers that weights of one shape share. */
function randomSource(raw) {
  const config = parseModelConfig(raw, values.shape)
  const drawn = new Map()
  const weightsOf = (shape) => {
    const key = shape.join()
    if (!drawn.has(key)) {
      const made = outsideScopes(() => scope(() => op.normal(op.empty(shape, 'float32'), 0, 0.02).to('bfloat16')))
      drawn.set(key, made)
    }
    return drawn.get(key)
  }
  const tensors = [...parameterShapes(config)].map(([name, shape]) => {
    const bytes = 2 * shape.reduce((product, size) => product * size, 1)
    const made = () => (shape.length === 1 ? op.full(shape, 1, 'bfloat16') : weightsOf(shape).clone())
    const read = (dtype, on = 'cpu') => scope(() => made().to(dtype).on(on))
    return [name, { dtype: 'bfloat16', shape, bytes, load: () => read('bfloat16'), read }]
  })
  return { folder: { path: values.shape, config, tensors: new Map(tensors) }, adapter: null }
}
