import { afterAll, expect, test } from 'vitest'
import { memoryUse } from '../../src/tensor/engine.ts'
import { liveTensors } from '../../src/tensor/scope.ts'
import { type Batch, type Trainer, trainStep } from '../../src/train/step.ts'
import { disposeTrainer, golden, goldenRows, trainerOf } from './fixtures.ts'

const loss = { type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 } as const
let trainer: Trainer

afterAll(() => disposeTrainer(trainer))

test('1,000 steps after as many leave the number of tensors and the memory as they were', () => {
  const { examples, mismatched } = goldenRows()
  const batch: Batch = {
    rows: examples,
    referenceLogps: Float32Array.from(examples, () => -40),
    mismatched,
    mismatchedReferenceLogps: Float32Array.from(mismatched, () => -50),
  }
  trainer = trainerOf(golden('kto/policy'), loss, { learningRate: 1e-5 })
  const seen: { tensors: number; bytes: number; native: number }[] = []
  for (let step = 0; step <= 2000; step++) {
    trainStep(trainer, batch, 1)
    if (step % 100 !== 0) continue
    const { rss, heapTotal } = process.memoryUsage()
    // The heap of JavaScript is collected when V8 sees fit.
    seen.push({ tensors: liveTensors(), bytes: memoryUse().live, native: rss - heapTotal })
  }
  const [warm, last] = [seen[10]!, seen.at(-1)!] // compiled code and malloc's arenas take some hundred steps to settle
  expect(new Set(seen.map(({ tensors }) => tensors)).size).toBe(1)
  expect(new Set(seen.map(({ bytes }) => bytes)).size).toBe(1)
  expect(last.native / warm.native).toBeLessThan(1.02)
})

test('gradient checkpointing leaves no keys and values behind', () => {
  const { examples, mismatched } = goldenRows()
  const referenceLogps = Float32Array.from(examples, () => -40)
  const mismatchedReferenceLogps = Float32Array.from(mismatched, () => -50)
  const batch: Batch = { rows: examples, referenceLogps, mismatched, mismatchedReferenceLogps }
  const checkpointed = { ...trainer, gradientCheckpointing: true }
  trainStep(checkpointed, batch, 1)
  const before = liveTensors()
  for (let step = 0; step < 3; step++) trainStep(checkpointed, batch, 1)
  expect(liveTensors()).toBe(before)
})
