// bfloat16 against float32 at the 135M shape (hidden 576, 30 layers, 9/3 heads, ffn 1536, vocabulary 49152), batch 4 x 256 tokens, in one run.
// Speed: three interleaved rounds of 5 steps each, medians. Then the loss after 50 steps of each.
//   node bench/precision/run.mjs [--quick]
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const quick = process.argv.includes('--quick')
const script = fileURLToPath(new URL('step.mjs', import.meta.url))
const run = (compute, loss, steps) =>
  JSON.parse(execFileSync(process.execPath, [script, compute, loss, String(steps)], { encoding: 'utf8' }))
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
const types = ['float32', 'bfloat16']

const speeds = { float32: [], bfloat16: [] }
for (let round = 0; round < 3; round++) for (const type of types) speeds[type].push(run(type, 'kto', 5).tokensPerSecond)
for (const type of types)
  console.log(
    `${type}: ${median(speeds[type]).toFixed(0)} tokens/s (${speeds[type].map((v) => v.toFixed(0)).join(', ')})`,
  )
console.log(`bfloat16 / float32: ${(median(speeds.bfloat16) / median(speeds.float32)).toFixed(2)}`)

for (const loss of quick ? ['sft'] : ['sft', 'kto']) {
  const [full, half] = types.map((type) => run(type, loss, quick ? 10 : 50).finalLoss)
  console.log(
    `${loss} loss at the end: float32 ${full.toFixed(4)}, bfloat16 ${half.toFixed(4)}, ${(100 * Math.abs(half / full - 1)).toFixed(2)} % apart`,
  )
}
