// What a step costs beside its arithmetic: KTO on a 2-layer, 64-wide model, batch 8 of 24 + 24 tokens, 2 threads, float32. Prospect, TRL's
// KTOTrainer, and a bare Python loop of the same operators, three interleaved rounds, medians.
//   node bench/overhead/run.mjs --python <a python with torch, trl, transformers> [--bare-python <a python whose torch is the libtorch in use>]
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({ options: { python: { type: 'string' }, 'bare-python': { type: 'string' } } })
if (!values.python) {
  console.error('--python <path> is needed: pip install -r test/golden/requirements.txt in a virtual environment')
  process.exit(1)
}
const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const folder = join(tmpdir(), 'prospect-overhead')
if (!existsSync(join(folder, 'rows.jsonl'))) execFileSync(values.python, [here('make_rows.py'), '--out', folder])
const inputs = [
  '--model',
  join(folder, 'model'),
  '--rows',
  join(folder, 'rows.jsonl'),
  '--steps',
  '100',
  '--warmup',
  '20',
]
const programs = {
  prospect: [process.execPath, here('prospect_steps.mjs')],
  trl: [values.python, here('trl_steps.py')],
  bare: [values['bare-python'] ?? values.python, here('bare_loop.py')],
}
const rates = Object.fromEntries(Object.keys(programs).map((name) => [name, []]))
for (let round = 0; round < 3; round++) {
  for (const [name, [program, script]] of Object.entries(programs)) {
    const output = execFileSync(program, [script, ...inputs], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    rates[name].push(JSON.parse(output.trim().split('\n').at(-1)).steps_per_second)
  }
}
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
for (const [name, numbers] of Object.entries(rates)) {
  console.log(`${name}: ${median(numbers).toFixed(1)} steps/s (${numbers.map((rate) => rate.toFixed(1)).join(', ')})`)
}
for (const name of ['trl', 'bare']) {
  console.log(`prospect / ${name}: ${(median(rates.prospect) / median(rates[name])).toFixed(2)}`)
}
