import { readFileSync } from 'node:fs'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { LossOptions } from '../../src/loss/index.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { noGrad, scope } from '../../src/tensor/scope.ts'
import { sequenceLogps } from '../../src/train/passes.ts'
import { accumulateGradients, type Batch, sequencesOf, type Trainer } from '../../src/train/step.ts'
import { disposeTrainer, golden, goldenRows, relativeDifference, trainerOf } from './fixtures.ts'

interface Expected {
  beta: number
  desirable_weight: number
  undesirable_weight: number
  policy: string
  reference: string
  policy_logps: number[]
  reference_logps: number[]
  mismatched_reference_logps: number[]
  kl: number
  loss: number
  rewards: number[]
}

const expected = JSON.parse(readFileSync(golden('kto/expected.json'), 'utf8')) as Record<'a' | 'b' | 'c', Expected> & {
  sft: { loss: number }
}
const { examples, mismatched } = goldenRows()
let trainer: Trainer

afterEach(() => disposeTrainer(trainer))

function referenceLogps(folder: string): { rows: Float32Array; pairs: Float32Array } {
  const decoder = loadDecoder(folder, 'float32')
  try {
    const weights = noGrad(() => scope(() => decoder.computeWeights('float32')))
    return {
      rows: sequenceLogps(decoder, weights, sequencesOf(examples), 8192),
      pairs: sequenceLogps(decoder, weights, mismatched, 8192),
    }
  } finally {
    decoder.dispose()
  }
}

function expectGradients(prefix: string): void {
  const stored = readSafetensors(golden('kto/gradients.safetensors')).tensors
  for (const [name, parameter] of trainer.decoder.parameters) {
    const want = scope(() => stored.get(`${prefix}/${name}`)!.load().toArray())
    const got = scope(() => parameter.grad!.toArray())
    expect(relativeDifference(got, want), `gradient of ${name}`).toBeLessThan(1e-5)
  }
}

describe.each(['a', 'b', 'c'] as const)("KTO of TRL's KTOTrainer, setting %s", (setting) => {
  const want = expected[setting]
  const loss: LossOptions = {
    type: 'kto',
    beta: want.beta,
    desirableWeight: want.desirable_weight,
    undesirableWeight: want.undesirable_weight,
  }
  let reference: { rows: Float32Array; pairs: Float32Array }
  beforeAll(() => {
    reference = referenceLogps(golden(`kto/${want.reference}`))
  })

  test('log-probabilities, z0, loss, rewards and every gradient are the same', () => {
    trainer = trainerOf(golden(`kto/${want.policy}`), loss)
    const batch: Batch = {
      rows: examples,
      referenceLogps: reference.rows,
      mismatched,
      mismatchedReferenceLogps: reference.pairs,
    }
    const result = accumulateGradients(trainer, batch)
    expect(relativeDifference(reference.rows, want.reference_logps)).toBeLessThan(1e-5)
    expect(relativeDifference(reference.pairs, want.mismatched_reference_logps)).toBeLessThan(1e-5)
    expect(relativeDifference(result.logps, want.policy_logps)).toBeLessThan(1e-5)
    expect(result.referencePoint!.value).toBeCloseTo(want.kl, 4)
    expect(Math.abs(result.loss / want.loss - 1)).toBeLessThan(1e-5)
    expect(relativeDifference(result.rewards!, want.rewards)).toBeLessThan(1e-4) // differences of sums near 50
    expectGradients(setting)
  })
})

test("SFT loss and gradients are those of transformers' own loss", () => {
  trainer = trainerOf(golden('kto/policy'), { type: 'sft', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 })
  const none = new Float32Array()
  const batch = { rows: examples, referenceLogps: none, mismatched: [], mismatchedReferenceLogps: none }
  const result = accumulateGradients(trainer, batch)
  expect(Math.abs(result.loss / expected.sft.loss - 1)).toBeLessThan(1e-5)
  expectGradients('sft')
})
