// Prospect's part of bench/overhead/run.mjs: KTO steps on rows of token ids; prints one JSON line.
// node bench/overhead/prospect_steps.mjs --model DIR --rows FILE --steps N --warmup M
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { makePlan } from '../../dist/data/plan.js'
import { makeObjective } from '../../dist/loss/index.js'
import { loadDecoder } from '../../dist/model/load.js'
import { inspectEngine, setThreads } from '../../dist/tensor/engine.js'
import { batchOf } from '../../dist/train/batches.js'
import { AdamW } from '../../dist/train/optimizer.js'
import { referenceLogps } from '../../dist/train/reference.js'
import { trainStep } from '../../dist/train/step.js'

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    rows: { type: 'string' },
    steps: { type: 'string' },
    warmup: { type: 'string' },
  },
})
const [steps, warmup] = [Number(values.steps), Number(values.warmup)]
const groups = new Map()
const groupOf = (ids) => {
  const key = ids.join()
  if (!groups.has(key)) groups.set(key, groups.size)
  return groups.get(key)
}
const lines = readFileSync(values.rows, 'utf8').trim().split('\n')
const examples = lines.map((line, index) => {
  const { prompt_ids, completion_ids, label } = JSON.parse(line)
  const [prompt, completion] = [Int32Array.from(prompt_ids), Int32Array.from(completion_ids)]
  const numbers = { promptGroup: groupOf(prompt), completionGroup: groupOf(completion) }
  return { index, ...numbers, prompt, completion, desirable: label, origin: { file: values.rows, line: index + 1 } }
})
inspectEngine()
setThreads(2)
const objective = makeObjective({ type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 })
const decoder = loadDecoder(values.model, 'float32')
for (const parameter of decoder.parameters.values()) parameter.withGrad()
const adamw = { learningRate: 1e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 }
const optimizer = new AdamW(decoder.parameters, adamw)
const trainer = { decoder, objective, optimizer, compute: 'float32', microBatchTokens: 8192 }
const total = steps + warmup
const plan = makePlan({ examples, seed: 0, epochs: total, batchSize: 8, maxSteps: total, mismatched: true })
const job = { examples, plan, compute: 'float32', microBatchTokens: 8192 }
const load = () => loadDecoder(values.model, 'float32')
const reference = await referenceLogps(job, values.model, load, { cache: '/tmp/prospect-bench' })
let began = 0
const losses = []
for (let step = 0; step < total; step++) {
  if (step === warmup) began = performance.now()
  losses.push(trainStep(trainer, batchOf(plan, step, examples, reference), 1).loss)
}
const seconds = (performance.now() - began) / 1000
console.log(JSON.stringify({ steps_per_second: steps / seconds, seconds, losses: losses.slice(0, 20) }))
