import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { op } from '../../src/tensor/operators.ts'
import { Generator } from '../../src/tensor/random.ts'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { AdamW } from '../../src/train/optimizer.ts'
import { golden, relativeDifference } from './fixtures.ts'

const stored = readSafetensors(golden('adamw/steps.safetensors')).tensors
const expected = JSON.parse(readFileSync(golden('adamw/expected.json'), 'utf8')) as Record<string, number> & {
  factors: number[]
  norms: number[]
}
const names = ['matrix', 'vector', 'scalar']

test.each(['0.0', '0.01'])('five clipped steps are those of torch.optim.AdamW, weight decay %s', (decay) => {
  scope(() => {
    const parameters = new Map(names.map((name) => [name, stored.get(`initial/${name}`)!.load().clone().withGrad()]))
    const optimizer = new AdamW(parameters, {
      learningRate: expected.learning_rate!,
      beta1: expected.beta1!,
      beta2: expected.beta2!,
      epsilon: expected.epsilon!,
      weightDecay: Number(decay),
      maxGradNorm: expected.max_grad_norm!,
    })
    for (const [step, factor] of expected.factors.entries()) {
      for (const [name, parameter] of parameters)
        parameter.grad = stored.get(`gradients/${step}/${name}`)!.load().clone()
      const norm = optimizer.gradientNorm()
      expect(Math.abs(norm / expected.norms[step]! - 1)).toBeLessThan(1e-5)
      optimizer.update(factor, norm)
      for (const [name, parameter] of parameters) {
        const want = stored.get(`weight_decay_${decay}/${step}/${name}`)!.load().toArray()
        expect(relativeDifference(parameter.toArray(), want), `${name} after step ${step}`).toBeLessThan(1e-5)
      }
    }
    optimizer.dispose()
  })
})

describe('moments in 8 bits', () => {
  const { tensors } = readSafetensors(golden('adamw_8bit/steps.safetensors'))
  const settings = JSON.parse(readFileSync(golden('adamw_8bit/settings.json'), 'utf8')) as Record<string, number>
  const stored = (name: string) => tensors.get(name)!.load()
  const options = {
    type: 'adamw_8bit',
    learningRate: settings.learning_rate!,
    beta1: settings.beta1!,
    beta2: settings.beta2!,
    epsilon: settings.epsilon!,
    weightDecay: settings.weight_decay!,
    maxGradNorm: 0,
  } as const

  test("steps are those of bitsandbytes' AdamW8bit, with the same codes and scales", () => {
    scope(() => {
      const parameter = stored('initial').clone().withGrad()
      const optimizer = new AdamW(new Map([['w', parameter]]), options)
      for (let step = 0; step < settings.steps!; step++) {
        parameter.grad = stored(`${step}/gradient`).clone()
        optimizer.update(1, 1)
        // A code that lies between two may go either way, and moves its weight a little in the steps after: one in a thousand.
        for (const [moments, name] of [
          [optimizer.firstMoments, 'exp_avg'],
          [optimizer.secondMoments, 'exp_avg_sq'],
        ] as const) {
          const scales = moments.get('w.absmax')!.toArray()
          expect(relativeDifference(scales, stored(`${step}/${name}.absmax`).toArray())).toBeLessThan(1e-5)
          const [codes, want] = [moments.get('w')!.to('float32').toArray(), stored(`${step}/${name}`).to('float32')]
          const wanted = want.toArray()
          const magnitudes = [...wanted.keys()].filter((i) => scales[Math.floor(i / 256)]! > 0)
          const other = magnitudes.filter((i) => codes[i] !== wanted[i])
          expect(other.length / wanted.length, `${name} after step ${step}`).toBeLessThan(1e-3)
          for (const i of other) expect(Math.abs(codes[i]! - wanted[i]!)).toBe(1)
        }
        const [got, want] = [parameter.toArray(), stored(`${step}/parameter`).toArray()]
        const moved = want.filter((value, i) => Math.abs(value - got[i]!) > 1e-6)
        expect(moved.length / want.length).toBeLessThan(1e-3 * (step + 1))
      }
      optimizer.dispose()
    })
  })

  test('take a quarter of the bytes; those of small and of named parameters stay exact', () => {
    scope(() => {
      const shapes = { matrix: [64, 65], small: [63, 65], embedding: [300, 64] }
      const parameters = new Map(
        Object.entries(shapes).map(([name, shape]) => [name, op.zeros(shape, 'float32').withGrad()]),
      )
      const { firstMoments, secondMoments } = new AdamW(parameters, options, new Set(['embedding']))
      for (const moments of [firstMoments, secondMoments]) {
        expect([...moments].map(([name, { dtype, shape }]) => [name, dtype, shape])).toEqual([
          ['matrix', 'uint8', [17, 256]],
          ['matrix.absmax', 'float32', [17]],
          ['small', 'float32', [63, 65]],
          ['embedding', 'float32', [300, 64]],
        ])
        for (const moment of moments.values()) moment.dispose()
      }
    })
  })

  test('are the nearest values of the dynamic type, wherever a number lies', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 4096, max: 4700 }),
        fc.integer({ min: -9, max: 0 }),
        fc.nat(1000),
        (size, least, seed) =>
          scope(() => {
            const generator = new Generator(seed)
            const sizes = op.normal(op.empty([size], 'float32'), 0, 1, generator.index)
            const powers = op.normal(op.empty([size], 'float32'), 0, -least, generator.index)
            const gradient = sizes.mul(op.exp(powers)).toArray()
            const parameter = op.zeros([size], 'float32').withGrad()
            parameter.grad = Tensor.from(gradient)
            const only = { ...options, beta1: 0, beta2: 0 } // the moments are the gradient and its square
            const optimizer = new AdamW(new Map([['w', parameter]]), only)
            optimizer.update(1, 1)
            for (const [moments, values, code] of [
              [optimizer.firstMoments, gradient, dynamicCode(true)],
              [optimizer.secondMoments, gradient.map((value) => Math.fround(value * value)), dynamicCode(false)],
            ] as const) {
              const scales = moments.get('w.absmax')!.toArray()
              const codes = moments.get('w')!.to('float32').toArray()
              for (let i = 0; i < size; i++) {
                const scale = scales[i >> 8]!
                if (scale === 0) continue
                const value = values[i]! / scale
                const distances = code.map((entry) => Math.abs(entry - value))
                const nearest = Math.min(...distances)
                expect(distances[codes[i]!]! - nearest).toBeLessThanOrEqual(1e-6 * Math.abs(value))
              }
            }
            optimizer.dispose()
          }),
      ),
      { numRuns: 10, seed: 1 },
    )
  })
})

/** Figure 3 of arXiv 1511.04561: by tens, then in a line. */
function dynamicCode(withSign: boolean): number[] {
  const magnitudes = Array.from({ length: 7 }, (_, exponent) => {
    const steps = 2 ** (exponent + (withSign ? 0 : 1))
    return Array.from({ length: steps }, (_, i) => 10 ** (exponent - 6) * (0.1 + (0.9 * (i + 0.5)) / steps))
  }).flat()
  return [...(withSign ? magnitudes.map((value) => -value) : []), ...magnitudes, 0, 1].sort((a, b) => a - b)
}
