// Prospect's part of bench/kto: a run of `train()` as users start it; prints one JSON line. Its argument is a job as JSON, see run.mjs.
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { train } from '../../dist/index.js'

const job = JSON.parse(process.argv[2])
const output = join(job.folder, `run-${process.pid}`)
const options = {
  model: job.model,
  data: [job.rows],
  output,
  loss: { type: 'kto', beta: 0.1 },
  batchSize: job.batch,
  optimizer: { learningRate: job.learningRate },
  schedule: { type: 'constant', warmup: 0 },
  maxLength: 8192,
  maxPromptLength: 8192,
  evaluation: { split: 0 },
  samples: { prompts: 0 },
  precision: job.precision,
  seed: job.seed,
  threads: job.threads,
  cache: join(output, 'cache'),
  ...(job.method === 'lora' && { adapter: { type: 'lora', rank: 16, alpha: 32 } }),
  ...job.options,
}
const run = await train(options)
const began = performance.now()
const ends = []
const steps = []
const processorSeconds = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
const processor = [processorSeconds()]
for await (const { loss, logps, rewards, kl, gradNorm, timings } of run) {
  ends.push((performance.timeOrigin + performance.now()) / 1000 - job.started)
  processor.push(processorSeconds())
  steps.push({ loss, chosen: logps.chosen, rejected: logps.rejected, margin: rewards?.margin, kl: kl?.value, gradNorm })
  if (steps.length === job.steps) {
    const timing = readFileSync(join(output, 'timing.jsonl'), 'utf8').trim().split('\n').map(JSON.parse)
    const data = JSON.parse(readFileSync(join(output, 'data.json'), 'utf8'))
    console.log(
      JSON.stringify({
        stepSeconds: timing.map(({ seconds }) => seconds),
        processorSeconds: processor.slice(1).map((seconds, i) => seconds - processor[i]),
        ends,
        loopSeconds: (performance.now() - began) / 1000,
        peakBytes: peakResident(),
        liveBytes: timings.memoryBytes,
        dataHash: data.hash,
        steps,
      }),
    )
    rmSync(output, { recursive: true, force: true })
    process.exit(0) // the model need not be saved
  }
}

function peakResident() {
  return Number(/VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
}
