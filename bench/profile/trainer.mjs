// A trainer on fresh weights, without files: for benches of the step itself.
import { makeObjective } from '../../dist/loss/index.js'
import { parseModelConfig } from '../../dist/model/architectures/read.js'
import { Decoder } from '../../dist/model/decoder.js'
import { initialParameters } from '../../dist/model/parameters.js'
import { inspectEngine, setThreads } from '../../dist/tensor/engine.js'
import { batchOf } from '../../dist/train/batches.js'
import { AdamW } from '../../dist/train/optimizer.js'
import { trainStep } from '../../dist/train/step.js'

export function makeTrainer(shape, { precision, threads, microBatchTokens }) {
  inspectEngine()
  setThreads(threads)
  const config = parseModelConfig(shape, 'bench')
  const decoder = new Decoder(config, initialParameters(config, 0))
  for (const parameter of decoder.parameters.values()) parameter.withGrad()
  const optimizer = new AdamW(decoder.parameters, {
    ...{ learningRate: 1e-5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 },
  })
  const objective = makeObjective({ type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 })
  const compute = precision === 'bf16' ? 'bfloat16' : 'float32'
  return { decoder, objective, optimizer, compute, microBatchTokens }
}

/** One step of the plan. Untrained, a token costs ln(vocabulary): close enough for a reference whose own pass is not what is measured. */
export function stepOn(trainer, plan, step, examples) {
  const untrained = -Math.log(trainer.decoder.config.vocabularySize)
  const reference = {
    rows: Float32Array.from(examples, ({ completion }) => untrained * completion.length),
    mismatched: { get: (key) => untrained * examples[key % examples.length].completion.length },
  }
  return trainStep(trainer, batchOf(plan, step, examples, reference), 1)
}
