// Where a KTO step's time goes, by family of operators; host time is what is left of the wall clock: JavaScript, the binding, reading metrics.
//   node bench/profile/run.mjs --shape 135m --precision bf16 --ratio 4:1 [--operators 5]
import { parseArgs } from 'node:util'
import { makePlan } from '../../dist/data/plan.js'
import { addon } from '../../dist/tensor/addon.js'
import { memoryUse, resetPeakMemory } from '../../dist/tensor/engine.js'
import { makeExamples } from '../kto/inputs.mjs'
import { requiredFlops, shapes } from '../kto/shapes.mjs'
import { median } from '../kto/summary.mjs'
import { byFamily } from './families.mjs'
import { makeTrainer, stepOn } from './trainer.mjs'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '135m' },
    precision: { type: 'string', default: 'bf16' },
    ratio: { type: 'string', default: '4:1' },
    length: { type: 'string', default: '320' },
    spread: { type: 'string', default: '0.5' },
    paired: { type: 'boolean', default: false },
    batch: { type: 'string', default: '8' },
    steps: { type: 'string', default: '3' },
    'micro-batch-tokens': { type: 'string', default: '2048' },
    threads: { type: 'string', default: '2' },
    operators: { type: 'string', default: '3' }, // shown of each family
    plain: { type: 'boolean', default: false }, // without the profiler: for its own cost
  },
})
const [batch, steps, shown] = [values.batch, values.steps, values.operators].map(Number)
const shape = shapes[values.shape]
const trainer = makeTrainer(shape, {
  precision: values.precision,
  threads: Number(values.threads),
  microBatchTokens: Number(values['micro-batch-tokens']),
})
const { length, spread, ratio, paired } = values
const examples = makeExamples({
  ...{ count: batch * (steps + 1), length: Number(length), spread: Number(spread), ratio, paired },
  vocabulary: shape.vocab_size,
})
const plan = makePlan({ examples, seed: 0, epochs: 1, batchSize: batch, mismatched: true })
stepOn(trainer, plan, 0, examples)
resetPeakMemory()
const faultsBefore = process.resourceUsage().minorPageFault
if (!values.plain) addon().profile(true)
const cpuBefore = process.cpuUsage()
const seconds = []
for (let step = 1; step <= steps; step++) {
  const began = performance.now()
  stepOn(trainer, plan, step, examples)
  seconds.push((performance.now() - began) / 1000)
}
const cpu = process.cpuUsage(cpuBefore)
const times = addon().profile(false)
const faults = process.resourceUsage().minorPageFault - faultsBefore
const wall = seconds.reduce((sum, value) => sum + value, 0)
const tokens = examples.slice(batch).reduce((sum, { prompt, completion }) => sum + prompt.length + completion.length, 0)
let flops = 0
for (let step = 1; step <= steps; step++) {
  const { rows, partners } = plan.batch(step)
  const of = (i, j = i) => ({
    prompt: examples[i].prompt.length,
    completion: examples[j].completion.length,
    group: examples[i].promptGroup,
  })
  flops += requiredFlops(
    shape,
    rows.map((i) => of(i)),
    rows.map((i, at) => of(i, partners[at])),
    'full',
  )
}
console.log(
  `${values.shape} ${values.precision} ${ratio} batch ${batch} x ${length}: median step ${median(seconds).toFixed(3)} s (${Math.min(...seconds).toFixed(3)} to ${Math.max(...seconds).toFixed(3)}), ` +
    `${(tokens / wall).toFixed(0)} tokens/s, ${(flops / wall / 1e9).toFixed(0)} GFLOP/s of required work`,
)
const memory = memoryUse()
const gibibytes = (bytes) => (bytes / 2 ** 30).toFixed(2)
console.log(
  `memory: live peak ${gibibytes(memory.peak)} GiB, between steps ${gibibytes(memory.live)}, cached ${gibibytes(memory.cached)}, ` +
    `resident peak ${gibibytes(process.resourceUsage().maxRSS * 1024)}; page faults a step ${Math.round(faults / steps)}; ` +
    `processor: user ${(cpu.user / 1e6 / steps).toFixed(2)} s, system ${(cpu.system / 1e6 / steps).toFixed(2)} s a step`,
)
const inOperators = Object.values(times).reduce((sum, { milliseconds }) => sum + milliseconds, 0)
const line = (name, milliseconds, calls) =>
  `${name.padEnd(46)} ${(milliseconds / steps).toFixed(1).padStart(9)} ms ${((milliseconds / wall / 1000) * 100).toFixed(1).padStart(6)} % ${String(Math.round(calls / steps)).padStart(7)} calls`
if (!values.plain) {
  for (const [family, total] of byFamily(times)) {
    console.log(line(family, total.milliseconds, total.calls))
    for (const [operator, milliseconds, calls] of total.operators.slice(0, shown))
      console.log(line(`    ${operator}`, milliseconds, calls))
  }
  console.log(line('host (wall minus operators)', wall * 1000 - inOperators, 0))
}
