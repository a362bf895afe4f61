import type { Parameters } from '../model/decoder.ts'
import { op } from '../tensor/operators.ts'
import { outsideScopes, scope } from '../tensor/scope.ts'
import type { Dtype, Tensor } from '../tensor/tensor.ts'

export interface AdamWOptions {
  /** In how many bits moments are stored: 32 where it is left out. */
  type?: 'adamw' | 'adamw_8bit'
  learningRate: number
  beta1: number
  beta2: number
  epsilon: number
  weightDecay: number
  /** Gradients are scaled down to this norm, over all parameters together. 0: never. */
  maxGradNorm: number
}

/** Elements of a moment that share a scale where it is stored in 8 bits (`kMomentBlock` of native/kernels). */
const momentBlock = 256
/** Smaller parameters keep moments in 32 bits, as in bitsandbytes. */
const least8bit = 4096

/**
 * AdamW (arXiv 1711.05101) with clipping by the global norm, as torch.optim.AdamW and clip_grad_norm_ compute them; float32, in place. With
 * `adamw_8bit` moments are stored in 8 bits (arXiv 2110.02861, as bitsandbytes' AdamW8bit has it), which takes 2 bytes a weight in place of 8.
 */
export class AdamW {
  readonly options: AdamWOptions
  /** exp_avg and exp_avg_sq by parameter name; of those in 8 bits the codes, and their scales as `<name>.absmax`. */
  readonly firstMoments: Parameters = new Map()
  readonly secondMoments: Parameters = new Map()
  readonly #parameters: Parameters
  /** Updates done. */
  step = 0

  /** `exact`: parameters whose moments stay in 32 bits, such as an embedding's: most of its rows have no gradient in most steps. */
  constructor(parameters: Parameters, options: AdamWOptions, exact: ReadonlySet<string> = new Set()) {
    this.#parameters = parameters
    this.options = options
    outsideScopes(() => {
      for (const moments of [this.firstMoments, this.secondMoments])
        for (const [name, parameter] of parameters)
          addMoment(moments, name, parameter, options.type === 'adamw_8bit' && !exact.has(name))
    })
  }

  /** The norm of all gradients together. */
  gradientNorm(): number {
    return scope(() => op.gradientNorm(this.#moved().map(({ gradient }) => gradient)))
  }

  /** One update with the learning rate times `factor`; then the gradients are cleared. `norm` from gradientNorm(). */
  update(factor: number, norm: number): void {
    const { learningRate, beta1, beta2, epsilon, weightDecay, maxGradNorm } = this.options
    const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (norm + 1e-6)) : 1
    this.step++
    const numbers = [this.step, learningRate * factor, beta1, beta2, epsilon, weightDecay, clip] as const
    scope(() => {
      const moved = this.#moved()
      const [exact, rounded] = [false, true].map((in8bits) =>
        moved.filter(({ name }) => this.firstMoments.has(scalesOf(name)) === in8bits),
      ) as [Moved[], Moved[]]
      const of = (moments: Parameters, some: Moved[], nameOf = (name: string) => name) =>
        some.map(({ name }) => moments.get(nameOf(name))!)
      const { firstMoments: first, secondMoments: second } = this
      if (exact.length > 0) op.adamw(...tensorsOf(exact), of(first, exact), of(second, exact), ...numbers)
      if (rounded.length > 0) {
        const moments = [first, second].map((all) => [of(all, rounded), of(all, rounded, scalesOf)] as const)
        op.adamw8bit(...tensorsOf(rounded), ...moments[0]!, ...moments[1]!, ...numbers)
      }
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

  #moved(): Moved[] {
    return [...this.#parameters].flatMap(([name, parameter]) => {
      const gradient = parameter.grad
      return gradient === null ? [] : [{ name, parameter, gradient }]
    })
  }
}

/** A parameter that has a gradient. */
interface Moved {
  name: string
  parameter: Tensor
  gradient: Tensor
}

function tensorsOf(moved: readonly Moved[]): [parameters: Tensor[], gradients: Tensor[]] {
  return [moved.map(({ parameter }) => parameter), moved.map(({ gradient }) => gradient)]
}

function scalesOf(name: string): string {
  return `${name}.absmax`
}

function addMoment(moments: Parameters, name: string, { shape, size, device }: Tensor, in8bits: boolean): void {
  const zeros = (shape: readonly number[], dtype: Dtype) => scope(() => op.zeros(shape, dtype, undefined, device))
  if (!in8bits || size < least8bit) {
    moments.set(name, zeros(shape, 'float32'))
    return
  }
  const blocks = Math.ceil(size / momentBlock)
  moments.set(name, zeros([blocks, momentBlock], 'uint8'))
  moments.set(scalesOf(name), zeros([blocks], 'float32'))
}
