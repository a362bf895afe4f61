import { noGrad, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/**
 * Gradient checkpointing (Chen et al., arXiv 1604.06174): of each stage of a pass only the input is kept, and the stage is computed again
 * when its gradient is due. The gradients are those of a pass that keeps everything: the same operators run on the same numbers.
 */
export class Tape {
  readonly #stages: { input: Tensor; compute: (x: Tensor) => Tensor }[] = []
  #output: Tensor | null = null

  /**
   * Computes a stage without recording it, and frees what it made but its output. Stages follow one another, each on the output of the one
   * before; what the first one reads may have a history of its own.
   */
  stage(input: Tensor, compute: (x: Tensor) => Tensor): Tensor {
    this.#stages.push({ input, compute })
    return noGrad(() => scope(() => compute(input)))
  }

  /** The last stage's output, for the rest of the pass to be computed from and recorded as usual. */
  finish(output: Tensor): Tensor {
    this.#output = output.detach().withGrad()
    return this.#output
  }

  /**
   * Backward of a scalar: of what followed finish(), then of the stages from the last to the first, then of the first one's input. `done` is
   * called with the number of each stage that will not be computed again.
   */
  backward(loss: Tensor, done?: (stage: number) => void): void {
    loss.backward()
    let gradient = this.#output?.grad ?? null
    this.#output?.dispose()
    const first = this.#stages[0]?.input
    for (let stage = this.#stages.pop(); stage; stage = this.#stages.pop()) {
      const { input, compute } = stage
      const above = gradient
      if (above) gradient = scope(() => stageGradient(input, compute, above))
      above?.dispose()
      if (input !== first) input.dispose()
      done?.(this.#stages.length)
    }
    if (gradient && first?.requiresGrad) first.backward(gradient)
  }
}

/** The gradient of a stage's input; those of the weights it reads are added to them. */
function stageGradient(input: Tensor, compute: (x: Tensor) => Tensor, above: Tensor): Tensor | null {
  const leaf = input.detach().withGrad()
  compute(leaf).backward(above)
  return leaf.grad
}
