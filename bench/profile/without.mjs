// A KTO step without one of its optimisations at a time, interleaved: what each brings, on this machine.
//   node bench/profile/without.mjs [--shape 135m] [--precision bf16] [--ratio 4:1] [--rounds 3]
// Rows come in pairs, two answers to a prompt, so that there are prompts to share.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { median } from '../kto/summary.mjs'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '135m' },
    precision: { type: 'string', default: 'bf16' },
    ratio: { type: 'string', default: '4:1' },
    rounds: { type: 'string', default: '3' },
  },
})
const { shape, precision, ratio } = values
const common = { shape, precision, ratio, length: 320, spread: 0.5, batch: 8, steps: 2, 'micro-batch-tokens': 4096 }
const variants = {
  'everything on': {},
  'a prompt computed for each of its rows': { flags: { 'own-prompts': true } },
  'micro-batches of 1,024 tokens, the reference point in a pass of its own': { flags: { 'micro-batch-tokens': 1024 } },
  "matrices' gradients rounded to bfloat16, cast and added by autograd": { flags: { 'own-gradients': true } },
  'copies in bfloat16 kept to the end of the step': { flags: { 'keep-copies': true } },
  'gradient checkpointing': { flags: { checkpointing: true } },
  "bfloat16 products by libtorch's library": { env: { PROSPECT_TILES: 'off' } },
  "libtorch's operators in place of all fused kernels": { env: { PROSPECT_KERNELS: 'composed' } },
}
const point = fileURLToPath(new URL('../scale/point.mjs', import.meta.url))
const seconds = Object.fromEntries(Object.keys(variants).map((name) => [name, []]))
const peaks = {}
for (let round = 0; round < Number(values.rounds); round++) {
  for (const [name, { flags = {}, env = {} }] of Object.entries(variants)) {
    const all = Object.entries({ ...common, ...flags }).flatMap(([flag, value]) =>
      value === true ? [`--${flag}`] : [`--${flag}`, String(value)],
    )
    const result = JSON.parse(
      execFileSync(process.execPath, [point, '--paired', ...all], {
        encoding: 'utf8',
        env: { ...process.env, ...env },
      }),
    )
    seconds[name].push(result.stepSeconds)
    peaks[name] = result.peakBytes
  }
}
const whole = median(seconds['everything on'])
console.log('| | step, s | times the whole | peak resident, GiB |\n|---|---|---|---|')
for (const [name, all] of Object.entries(seconds)) {
  const step = median(all)
  console.log(`| ${name} | ${step.toFixed(2)} | ${(step / whole).toFixed(2)} | ${(peaks[name] / 2 ** 30).toFixed(1)} |`)
}
