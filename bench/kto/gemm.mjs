// The matrix-multiply peak of this project's products: best of a few big ones, in FLOP/s, by precision. Prints one JSON line. Operands are random as
// those of a model are: multiplying ones takes less power, and a processor at its power limit then runs faster than any model could.
import { setThreads } from '../../dist/tensor/engine.js'
import { op } from '../../dist/tensor/operators.js'
import { scope } from '../../dist/tensor/scope.js'

setThreads(Number(process.argv[2]))
const sizes = [
  [2048, 2048, 2048],
  [4096, 2048, 2048],
  [2048, 1536, 4608],
  [4096, 4096, 4096],
]

function best(dtype) {
  let peak = 0
  for (const [m, k, n] of sizes) {
    scope(() => {
      const [a, b] = [op.zeros([m, k], dtype), op.zeros([k, n], dtype)]
      for (const operand of [a, b]) op.normal(operand, 0, 1)
      for (let i = 0; i < 4; i++) {
        const began = performance.now()
        scope(() => {
          a.matmul(b) // freed here: a result would be kept, and the next product would touch new memory
        })
        peak = Math.max(peak, (2 * m * k * n) / ((performance.now() - began) / 1000))
      }
    })
  }
  return peak
}

console.log(JSON.stringify({ float32: best('float32'), bf16: best('bfloat16') }))
