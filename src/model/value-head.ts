import { op } from '../tensor/operators.ts'
import { Generator } from '../tensor/random.ts'
import { noGrad, outsideScopes, scope } from '../tensor/scope.ts'
import type { Device, Tensor } from '../tensor/tensor.ts'
import type { Parameters } from './layers.ts'

/** The linear layers and their outputs, named as in the authors' code (HALOs, `v_head`): a ReLU lies between each two. */
const layers = ['summary.0', 'summary.3', 'summary.6'] as const

/**
 * What a state is worth, learnt beside a model: a perceptron with two hidden layers of the model's width on its hidden states, in float32. Gradients stop
 * at the states, so that the model does not learn from it. The authors' dropout is left out: with it the same state would have two values in a step.
 */
export class ValueHead {
  /** `summary.0.weight`, ... , float32. */
  readonly parameters: Parameters

  constructor(parameters: Parameters) {
    this.parameters = parameters
  }

  /** A fresh one, as torch's Linear starts: weights and biases uniform in +-1 / sqrt(inputs). */
  static create(hiddenSize: number, seed: number, device: Device = 'cpu'): ValueHead {
    const generator = new Generator(seed)
    const bound = 1 / Math.sqrt(hiddenSize)
    const made = (shape: number[]) =>
      outsideScopes(() =>
        noGrad(() => scope(() => op.uniform(op.empty(shape, 'float32'), -bound, bound, generator.index).on(device))),
      )
    const parameters: Parameters = new Map()
    for (const layer of layers) {
      const outputs = layer === layers.at(-1) ? 1 : hiddenSize
      parameters.set(`${layer}.weight`, made([outputs, hiddenSize]))
      parameters.set(`${layer}.bias`, made([outputs]))
    }
    return new ValueHead(parameters)
  }

  /** Values of states [states, hiddenSize]: [states] float32, with gradient to the head only. */
  values(states: Tensor): Tensor {
    const result = layers.reduce((input, layer) => {
      const weight = this.parameters.get(`${layer}.weight`)!
      const output = op.linear(input, weight, this.parameters.get(`${layer}.bias`)!)
      return layer === layers.at(-1) ? output : op.relu(output)
    }, states.detach().to('float32'))
    return result.view(states.shape[0]!)
  }

  dispose(): void {
    for (const parameter of this.parameters.values()) parameter.dispose()
  }
}
