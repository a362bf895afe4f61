// Rates of one side's bfloat16 products at a model's layers, in GFLOP/s, best of some rounds: forward, gradient of the inputs, gradient of the
// weight (in float32, as a trained weight gets it).
// Prints one JSON line.
import { setThreads } from '../../dist/tensor/engine.js'
import { op } from '../../dist/tensor/operators.js'
import { scope } from '../../dist/tensor/scope.js'
import { layers } from './layers.mjs'

const shape = process.argv[2]
const [tokens, threads, rounds, first] = process.argv.slice(3).map(Number)
setThreads(threads)

const random = (...shape) => op.normal(op.zeros(shape, 'bfloat16'), 0, 1)

function fastest(run) {
  const times = Array.from({ length: rounds }, () => scope(run))
  return Math.min(...times)
}

function timed(work) {
  const began = performance.now()
  work()
  return performance.now() - began
}

const rates = layers(shape)
  .slice(0, first)
  .map(({ outputs, inputs }) =>
    scope(() => {
      const [x, weight, upstream] = [random(tokens, inputs), random(outputs, inputs), random(tokens, outputs)]
      const master = weight.to('float32')
      const backward = () => {
        master.grad = null
        const y = op.linear(x, weight, null, master)
        return timed(() => y.backward(upstream))
      }
      const forward = fastest(() => timed(() => op.linear(x, weight)))
      x.withGrad()
      const ofInputs = fastest(backward)
      x.withGrad(false)
      master.withGrad()
      const ofWeight = fastest(backward)
      return [forward, ofInputs, ofWeight].map((ms) => (2 * tokens * outputs * inputs) / ms / 1e6)
    }),
  )
console.log(JSON.stringify(rates))
