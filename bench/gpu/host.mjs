// What the processor does of a step while a GPU computes: giving out a block's operators, and what lies between one step's end and the next one's first
// operator. Blocks are so small here that computing them costs next to nothing; needs no GPU.
//   node bench/gpu/host.mjs
process.env.PROSPECT_KERNELS = 'composed' // what GPUs compute with
const { makePlan } = await import('../../dist/data/plan.js')
const { microBatches, pack } = await import('../../dist/data/pack.js')
const { train } = await import('../../dist/index.js')
const { batchOf } = await import('../../dist/train/batches.js')
const { sequencesOf } = await import('../../dist/train/step.js')
const { benchFolder, jsonLines, makeExamples, modelFolder, rowsOf } = await import('../kto/inputs.mjs')
const { shapes } = await import('../kto/shapes.mjs')
const { median } = await import('../kto/summary.mjs')
const { makeTrainer, stepOn } = await import('../profile/trainer.mjs')
const { mkdirSync, readFileSync, rmSync, writeFileSync } = await import('node:fs')
const { join } = await import('node:path')

const steps = 20
const rows = { spread: 0.5, ratio: '1:1', paired: false, vocabulary: 512 }
const milliseconds = (value) => `${value.toFixed(2)} ms`
const [few, many] = [2, 18].map(stepWith)
const ofBlock = (many - few) / 16
console.log(
  `a block, forward and backward, and its forward pass for mismatched completions: ${milliseconds(ofBlock)} a micro-batch`,
)
console.log(`the rest of a step: ${milliseconds(few - 2 * ofBlock)}`)
console.log(`a batch of 16 x 1024 tokens put together and packed: ${milliseconds(packing())}`)
console.log(`between a step's end and the next one: ${milliseconds(await between())}`)
process.exit(0)

/** Milliseconds of a step on two rows, with so many blocks. */
function stepWith(blocks) {
  const trainer = makeTrainer(
    { ...shapes.tiny, num_hidden_layers: blocks },
    { precision: 'bf16', threads: 1, microBatchTokens: 4096 },
  )
  const examples = makeExamples({ ...rows, count: 2 * steps, length: 32 })
  const plan = makePlan({ examples, seed: 0, epochs: 1, batchSize: 2, mismatched: true })
  return median(Array.from({ length: steps }, (_, step) => timed(() => stepOn(trainer, plan, step, examples))).slice(3))
}

function packing() {
  const examples = makeExamples({ ...rows, count: 16 * steps, length: 1024 })
  const plan = makePlan({ examples, seed: 0, epochs: 1, batchSize: 16, mismatched: true })
  const prepare = (step) => {
    const batch = batchOf(plan, step, examples, null)
    for (const micro of microBatches(sequencesOf(batch.rows), 16384)) pack(micro)
  }
  return median(Array.from({ length: steps }, (_, step) => timed(() => prepare(step))).slice(3))
}

/** Metrics, logs and the loop: what a run's steps take on top of the seconds that timing.jsonl has. */
async function between() {
  const folder = join(benchFolder, 'host')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'rows.jsonl'), jsonLines(rowsOf(makeExamples({ ...rows, count: 16 * 100, length: 16 }))))
  const output = join(folder, 'run')
  const run = await train({
    ...{ model: await modelFolder('tiny'), data: [join(folder, 'rows.jsonl')], output, cache: join(folder, 'cache') },
    ...{ batchSize: 16, evaluation: { split: 0 }, samples: { prompts: 0 }, checkpoint: { every: 1_000_000 } },
  })
  const ends = []
  for await (const _ of run) ends.push(performance.now())
  await run.finished
  const lines = readFileSync(join(output, 'timing.jsonl'), 'utf8').trim().split('\n')
  const took = lines.map((line) => 1000 * JSON.parse(line).seconds)
  rmSync(folder, { recursive: true, force: true })
  return median(ends.slice(1).map((end, i) => end - ends[i] - took[i + 1]))
}

function timed(work) {
  const began = performance.now()
  work()
  return performance.now() - began
}
