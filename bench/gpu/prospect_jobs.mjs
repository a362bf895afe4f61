// Prospect's part of bench/gpu: a run of train() for each job of a JSON list, as users start it; prints a JSON line a job. See bench.mjs.
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { train } from '../../dist/index.js'

for (const job of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  try {
    console.log(JSON.stringify({ setting: job.name, ...(await measure(job)) }))
  } catch (error) {
    console.log(JSON.stringify({ setting: job.name, error: error.message }))
  }
}
process.exit(0)

async function measure(job) {
  const output = join(job.folder, `prospect-${process.pid}-${Date.now()}`)
  const lora = { adapter: { type: 'lora', rank: 16, alpha: 32 } }
  const began = performance.now()
  const run = await train({
    ...{ model: job.model, data: [job.rows], output, cache: join(job.folder, '../prospect-cache'), device: job.device },
    ...{ loss: { type: 'kto', beta: 0.1 }, batchSize: job.batch, optimizer: { learningRate: 1e-5 }, precision: 'bf16' },
    ...{ schedule: { type: 'constant', warmup: 0 }, maxLength: 8192, maxPromptLength: 8192 },
    ...{ evaluation: { split: 0 }, samples: { prompts: 0 }, checkpoint: { every: 1_000_000 }, seed: 0 },
    ...{ microBatchTokens: job.microBatchTokens, gradientCheckpointing: job.checkpointing ?? false },
    ...(job.method === 'lora' ? lora : {}),
  })
  const ends = []
  const steps = []
  for await (const { loss, logps } of run) {
    ends.push((performance.now() - began) / 1000)
    steps.push({ loss, chosen: logps.chosen, rejected: logps.rejected })
  }
  const timing = readFileSync(join(output, 'timing.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  await run.finished // saves the model, which is not measured
  rmSync(output, { recursive: true, force: true })
  const most = (key) => Math.max(0, ...timing.map((line) => line[key] ?? 0))
  return { ends, steps, peakBytes: most('peakBytes'), peakReservedBytes: most('peakReservedBytes') }
}
