import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { readSafetensors } from '../../src/tensor/safetensors.ts'
import { scope } from '../../src/tensor/scope.ts'
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
