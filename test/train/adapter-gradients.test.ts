import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { type Adapter, createAdapter } from '../../src/model/adapters/adapter.ts'
import { type AdapterConfig, defaultAdapterConfig } from '../../src/model/adapters/config.ts'
import { loadDecoder, loadSource } from '../../src/model/load.ts'
import { modelShapes, openModel } from '../../src/model/open.ts'
import { op } from '../../src/tensor/operators.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { sequenceLogps } from '../../src/train/passes.ts'
import { accumulateGradients, type Batch, referencePointOf, sequencesOf, type Trainer } from '../../src/train/step.ts'
import { disposeTrainer, golden, goldenRows, relativeDifference, trainerFor, trainerOf } from './fixtures.ts'

const { examples, mismatched } = goldenRows()
const loss = { type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 } as const
const batch: Batch = { rows: examples, mismatched, ...referenceLogps() }
let trainer: Trainer
afterEach(() => disposeTrainer(trainer))

function referenceLogps() {
  const decoder = loadDecoder(golden('kto/reference'), 'float32')
  const weights = noGrad(() => scope(() => decoder.computeWeights('float32')))
  const referenceLogps = sequenceLogps(decoder, weights, sequencesOf(examples), 8192)
  const mismatchedReferenceLogps = sequenceLogps(decoder, weights, mismatched, 8192)
  decoder.dispose()
  return { referenceLogps, mismatchedReferenceLogps }
}

function gradients(more: Partial<Trainer> = {}): Map<string, Float32Array> {
  accumulateGradients({ ...trainer, ...more }, batch)
  const found = [...trainer.decoder.trainable].map(
    ([name, p]) => [name, scope(() => p.grad!.toArray())] as [string, Float32Array],
  )
  trainer.optimizer.clearGradients()
  return new Map(found)
}

function expectSame(got: Map<string, Float32Array>, want: Map<string, Float32Array>, tolerance: number, what: string) {
  expect([...got.keys()]).toEqual([...want.keys()])
  for (const [name, gradient] of got)
    expect(relativeDifference(gradient, want.get(name)!), `${what}: ${name}`).toBeLessThan(tolerance)
}

/** A trainer of kto/policy with an adapter whose B is random, so that A has gradients too. */
function adaptedTrainer(change: Partial<AdapterConfig>): Trainer {
  const base = loadDecoder(golden('kto/policy'), 'float32')
  const config = { ...defaultAdapterConfig, rank: 4, alpha: 8, ...change }
  const adapter = createAdapter(config, modelShapes(base.config), 1, (name) => base.parameters.get(name)!, base.device)
  scope(() => {
    for (const [name, tensor] of adapter.parameters) if (name.endsWith('lora_B.weight')) randomise(tensor)
  })
  return trainerFor(withOwnBase(base.withAdapter(adapter), base), loss)
}

function randomise(tensor: Tensor): void {
  op.uniform(tensor, -0.2, 0.2)
}

/** The base goes with the decoder that a test disposes of. */
function withOwnBase<D extends { dispose(): void }>(decoder: D, base: { dispose(): void }): D {
  const dispose = decoder.dispose.bind(decoder)
  decoder.dispose = () => {
    dispose()
    base.dispose()
  }
  return decoder
}

test("KTO: TRL's loss and gradients of every parameter of an adapter of PEFT", () => {
  const path = golden('peft/kto')
  const { tensors } = readSafetensors(join(path, 'expected.safetensors'))
  const want = (name: string) => scope(() => tensors.get(name)!.load().toArray())
  trainer = trainerFor(loadSource(openModel(path), 'float32'), loss)
  const result = accumulateGradients(trainer, batch)
  expect(Math.abs(result.loss / want('loss')[0]! - 1)).toBeLessThan(1e-5)
  expect(tensors.size).toBe(1 + trainer.decoder.trainable.size)
  for (const [name, parameter] of trainer.decoder.trainable) {
    const got = scope(() => parameter.grad!.toArray())
    expect(relativeDifference(got, want(`base_model.model.${name}`)), name).toBeLessThan(1e-5)
  }
  for (const parameter of trainer.decoder.parameters.values()) expect(parameter.grad).toBeNull()
})

describe('gradient checkpointing gives the same gradients', () => {
  test.each([8192, 30])('of all weights, %i tokens a micro-batch', (microBatchTokens) => {
    trainer = trainerOf(golden('kto/policy'), loss)
    const plain = gradients({ microBatchTokens })
    expectSame(gradients({ microBatchTokens, gradientCheckpointing: true }), plain, 1e-6, 'checkpointed')
  })

  test.each(['lora', 'dora'] as const)('of a %s adapter with dropout', (type) => {
    trainer = adaptedTrainer({ type, dropout: 0.3 })
    const plain = gradients()
    expectSame(gradients({ gradientCheckpointing: true }), plain, 1e-6, 'checkpointed')
  })
})

test.each([8192, 30, 1])(
  'DoRA takes batches of several micro-batches, %i tokens each, with the same gradients',
  (microBatchTokens) => {
    trainer = adaptedTrainer({ type: 'dora' })
    const whole = gradients()
    expectSame(gradients({ microBatchTokens }), whole, 1e-5, 'in micro-batches')
    expectSame(gradients({ microBatchTokens, gradientCheckpointing: true }), whole, 1e-5, 'and checkpointed')
  },
)

describe('dropout', () => {
  test('masks do not depend on how the batch is cut, nor on sharing prompts', () => {
    trainer = adaptedTrainer({ dropout: 0.3, targetModules: ['q_proj', 'down_proj', 'lm_head'] })
    const whole = gradients()
    expectSame(gradients({ microBatchTokens: 1 }), whole, 1e-5, 'one row at a time')
  })

  test('mismatched completions never see keys that were computed with it, in a batch of one micro-batch either', () => {
    trainer = adaptedTrainer({ dropout: 0.3 })
    const { referencePoint } = accumulateGradients(trainer, batch)
    trainer.optimizer.clearGradients()
    const undropped = scope(() => {
      const weights = noGrad(() => trainer.decoder.computeWeights('float32'))
      return referencePointOf(trainer, weights, batch)
    })
    expect(referencePoint).toEqual(undropped)
    expect(referencePoint!.value).not.toBe(0)
  })

  test('masks are others in another step and with another seed, and none without dropout', () => {
    trainer = adaptedTrainer({ dropout: 0.3 })
    const first = gradients()
    const name = 'model.layers.0.self_attn.q_proj.lora_B.weight'
    const differs = (other: Map<string, Float32Array>) =>
      expect(relativeDifference(other.get(name)!, first.get(name)!)).toBeGreaterThan(0.01)
    differs(gradients({ seed: 1 }))
    trainer.optimizer.step = 1
    differs(gradients())
    trainer.optimizer.step = 0
    expect(gradients()).toEqual(first)
  })

  test('zeroes the given share of the inputs and keeps their mean', () => {
    trainer = adaptedTrainer({})
    scope(() => {
      const keys = op.arange(2000, 'int64')
      const kept = op.keyedDropout(op.ones([2000, 64], 'float32'), keys, 5, 0.25)
      expect(kept.mean().item()).toBeCloseTo(1, 2)
      expect(op.gtScalar(kept, 0).to('float32').mean().item()).toBeCloseTo(0.75, 2)
    })
  })
})

test('an adapter that starts anew changes nothing, and only B has gradients at first', () => {
  trainer = trainerFor(loadDecoder(golden('kto/policy'), 'float32'), loss)
  const before = accumulateGradients(trainer, batch).logps
  disposeTrainer(trainer)
  const base = loadDecoder(golden('kto/policy'), 'float32')
  const adapter: Adapter = createAdapter(
    { ...defaultAdapterConfig, type: 'dora' },
    modelShapes(base.config),
    0,
    (name) => base.parameters.get(name)!,
    base.device,
  )
  trainer = trainerFor(withOwnBase(base.withAdapter(adapter), base), loss)
  expect(accumulateGradients(trainer, batch).logps).toEqual(before)
  for (const [name, parameter] of trainer.decoder.trainable) {
    const largest = scope(() => Math.max(...parameter.grad!.toArray().map(Math.abs)))
    if (name.endsWith('lora_A.weight')) expect(largest, name).toBe(0)
    else expect(largest, name).toBeGreaterThan(0)
  }
})
