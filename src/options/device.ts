import { z } from 'zod'

/** `--device` of every command that runs a model. */
export const deviceDeclaration = '--device <name>'
export const deviceDescription =
  'Where to compute: cpu, cuda or cuda:<number>; auto: the first GPU where libtorch can use one, else the processor'
export function deviceSchema() {
  return z
    .string()
    .regex(/^(auto|cpu|cuda(:\d+)?)$/, 'must be auto, cpu, cuda or cuda:<number>')
    .default('auto')
}

export const precisionDescription = 'Type of matrix products; auto: bf16 where the device has it'
