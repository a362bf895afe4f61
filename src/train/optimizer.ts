import type { Parameters } from '../model/decoder.ts'
import { op } from '../tensor/operators.ts'
import { outsideScopes, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

export interface AdamWOptions {
  learningRate: number
  beta1: number
  beta2: number
  epsilon: number
  weightDecay: number
  /** Gradients are scaled down to this norm, over all parameters together. 0: never. */
  maxGradNorm: number
}

/** AdamW (arXiv 1711.05101) with clipping by the global norm, as torch.optim.AdamW and clip_grad_norm_ compute them; float32, in place. */
export class AdamW {
  readonly options: AdamWOptions
  /** exp_avg and exp_avg_sq by parameter name. */
  readonly firstMoments: Parameters = new Map()
  readonly secondMoments: Parameters = new Map()
  readonly #parameters: Parameters
  /** Updates done. */
  step = 0

  constructor(parameters: Parameters, options: AdamWOptions) {
    this.#parameters = parameters
    this.options = options
    outsideScopes(() => {
      for (const [name, parameter] of parameters) {
        this.firstMoments.set(name, zerosLike(parameter))
        this.secondMoments.set(name, zerosLike(parameter))
      }
    })
  }

  /** The norm of all gradients together. */
  gradientNorm(): number {
    return scope(() => op.gradientNorm(this.#gradients()))
  }

  /** One update with the learning rate times `factor`; then the gradients are cleared. `norm` from gradientNorm(). */
  update(factor: number, norm: number): void {
    const { learningRate, beta1, beta2, epsilon, weightDecay, maxGradNorm } = this.options
    const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (norm + 1e-6)) : 1
    this.step++
    scope(() => {
      const moved = [...this.#parameters].flatMap(([name, parameter]) => {
        const gradient = parameter.grad
        return gradient === null ? [] : [{ name, parameter, gradient }]
      })
      const parameters = moved.map(({ parameter }) => parameter)
      const gradients = moved.map(({ gradient }) => gradient)
      const moments = [this.firstMoments, this.secondMoments].map((map) => moved.map(({ name }) => map.get(name)!))
      const rate = learningRate * factor
      op.adamw(
        parameters,
        gradients,
        moments[0]!,
        moments[1]!,
        this.step,
        rate,
        beta1,
        beta2,
        epsilon,
        weightDecay,
        clip,
      )
    })
    this.clearGradients()
  }

  clearGradients(): void {
    for (const parameter of this.#parameters.values()) parameter.grad = null
  }

  dispose(): void {
    for (const moments of [this.firstMoments, this.secondMoments])
      for (const moment of moments.values()) moment.dispose()
  }

  #gradients(): Tensor[] {
    return [...this.#parameters.values()].map((parameter) => parameter.grad).filter((gradient) => gradient !== null)
  }
}

function zerosLike(parameter: Tensor): Tensor {
  return scope(() => op.zeros(parameter.shape, 'float32', undefined, parameter.device))
}
