// The rate of matrix products of this libtorch on the GPU: the best of a few large ones in bfloat16, in FLOP/s. Prints one JSON line.
import { synchronize } from '../../dist/tensor/device.js'
import { op } from '../../dist/tensor/operators.js'
import { Generator } from '../../dist/tensor/random.js'
import { scope } from '../../dist/tensor/scope.js'

const device = process.argv[2]
let best = 0
for (const n of device === 'cpu' ? [512] : [4096, 8192]) {
  scope(() => {
    const random = (seed) =>
      op
        .normal(op.empty([n, n], 'float32'), 0, 1, new Generator(seed).index)
        .to('bfloat16')
        .on(device)
    const [a, b] = [random(1), random(2)]
    const products = 10
    for (let round = 0; round < 3; round++) {
      synchronize(device)
      const began = performance.now()
      for (let i = 0; i < products; i++) scope(() => void a.matmul(b))
      synchronize(device)
      best = Math.max(best, (products * 2 * n ** 3) / ((performance.now() - began) / 1000))
    }
  })
}
console.log(JSON.stringify({ bf16: best }))
