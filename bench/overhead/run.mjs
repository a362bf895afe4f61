// What a step costs beside its arithmetic: KTO on a 2-layer, 64-wide model, batch 8 of 24 + 24 tokens, 2 threads, float32. Prospect, TRL's
// KTOTrainer, and a bare Python loop of the same operators, interleaved rounds, medians.
//   node bench/overhead/run.mjs --python <python of bench/kto/make-venv.sh> [--bare-python <python of make-debian-torch.sh: the libtorch in use>]
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bestCapability } from '../../dist/tensor/processor.js'

const { values } = parseArgs({
  options: {
    python: { type: 'string', default: process.env.PROSPECT_PEERS_PYTHON },
    'bare-python': { type: 'string' },
    rounds: { type: 'string', default: '5' },
  },
})
if (!values.python) {
  console.error('--python <path> or PROSPECT_PEERS_PYTHON is needed: bench/kto/make-venv.sh makes one')
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
// What Prospect sets for itself is set for all: the processor's widest kernels, and threads that do not spin while others wait.
const capability = bestCapability()
const environment = { ...(capability && { ATEN_CPU_CAPABILITY: capability }), ...process.env }
const rates = Object.fromEntries(Object.keys(programs).map((name) => [name, []]))
for (let round = 0; round < Number(values.rounds); round++) {
  for (const [name, [program, script]] of Object.entries(programs)) {
    const output = execFileSync(program, [script, ...inputs], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      env: environment,
    })
    rates[name].push(JSON.parse(output.trim().split('\n').at(-1)).steps_per_second)
  }
}
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
for (const [name, numbers] of Object.entries(rates)) {
  console.log(`${name}: ${median(numbers).toFixed(1)} steps/s (${numbers.map((rate) => rate.toFixed(1)).join(', ')})`)
}
// A ratio a round, so that what else the machine did in that round counts on both sides.
for (const name of ['trl', 'bare']) {
  const ratios = rates.prospect.map((rate, round) => rate / rates[name][round])
  const shown = ratios.map((ratio) => ratio.toFixed(2)).join(', ')
  console.log(`prospect / ${name}: ${median(ratios).toFixed(2)} (${shown})`)
}
