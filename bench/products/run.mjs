// bfloat16 products at a model's layers: this project's, those of the libtorch that it is built with, and (with --python) those of that Python's torch.
//   node bench/products/run.mjs --shape 0.5b --tokens 2560 [--python <of make-venv.sh>]
import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { layers } from './layers.mjs'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '0.5b' },
    tokens: { type: 'string', default: '2560' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    head: { type: 'boolean', default: false }, // takes gigabytes with many tokens
    python: { type: 'string' },
  },
})
const folder = dirname(fileURLToPath(import.meta.url))
const { shape, tokens, threads, rounds } = values
const used = layers(shape).filter(({ name }) => values.head || name !== 'head')
const names = ['forward', 'of inputs', 'of weight']

const own = (env) => () =>
  JSON.parse(
    execFileSync(process.execPath, [join(folder, 'rates.mjs'), shape, tokens, threads, rounds, String(used.length)], {
      env: { ...process.env, ...env },
    }),
  )
const sides = {
  "this project's": own({}),
  "libtorch's": own({ PROSPECT_TILES: 'off' }),
  ...(values.python && {
    "Python's torch": () =>
      JSON.parse(
        execFileSync(values.python, [join(folder, 'rates.py'), JSON.stringify(used), tokens, threads, rounds]),
      ),
  }),
}

console.log(`${shape}, ${tokens} tokens, ${threads} threads; GFLOP/s, best of ${rounds} in each of two sittings`)
const found = Object.entries(sides).map(([side, measure]) => ({ side, sittings: [measure()], measure }))
for (const { sittings, measure } of found) sittings.push(measure())
for (const [i, { name, outputs, inputs }] of used.entries()) {
  console.log(`${name} (${outputs} x ${inputs})`)
  for (const { side, sittings } of found) {
    const best = names.map((_, j) => Math.max(...sittings.map((rates) => rates[i][j])))
    console.log(
      `  ${side.padEnd(16)}${names.map((name, j) => `${name} ${best[j].toFixed(0).padStart(5)}`).join('   ')}`,
    )
  }
}
