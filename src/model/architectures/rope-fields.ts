import { z } from 'zod'
import type { RopeConfig, RopeScaling } from '../frequencies.ts'

const positive = z.number().int().positive()
const number = z.number().nullish()

/** `rope_parameters` of transformers 5, `rope_scaling` of 4. */
export const ropeFields = z.looseObject({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: z.number().positive().nullish(),
  partial_rotary_factor: z.number().positive().max(1).nullish(),
  factor: z.number().positive().nullish(),
  low_freq_factor: number,
  high_freq_factor: number,
  original_max_position_embeddings: positive.nullish(),
  attention_factor: z.number().positive().nullish(),
  beta_fast: number,
  beta_slow: number,
  mscale: number,
  mscale_all_dim: number,
  truncate: z.boolean().nullish(),
  short_factor: z.array(z.number().positive()).nullish(),
  long_factor: z.array(z.number().positive()).nullish(),
})
export type RopeFields = z.output<typeof ropeFields>

interface Surroundings {
  headSize: number
  maxPositions: number
  /** Elements of a head that are turned; all where it is not given. */
  size?: number
}

/** The rotary embedding that the fields describe. Throws where the scaling is unknown or lacks a field. */
export function ropeConfig(fields: RopeFields, { headSize, maxPositions, size = headSize }: Surroundings): RopeConfig {
  if (size < 2 || size % 2 !== 0) throw new Error(`${size} elements of a head are turned: the number must be even`)
  const theta = fields.rope_theta ?? 10000
  return { theta, size, scaling: ropeScaling(fields, size, maxPositions) }
}

function ropeScaling(fields: RopeFields, size: number, maxPositions: number): RopeScaling {
  const type = fields.rope_type ?? fields.type ?? 'default'
  const need = <K extends keyof RopeFields>(name: K): NonNullable<RopeFields[K]> =>
    fields[name] ?? missing(`rope scaling '${type}' needs ${String(name)}`)
  const originalMaxPositions = fields.original_max_position_embeddings ?? maxPositions
  switch (type) {
    case 'default':
      return { type }
    case 'linear':
      return { type, factor: need('factor') }
    case 'dynamic':
      return { type, factor: need('factor'), maxPositions }
    case 'llama3':
      return {
        type,
        factor: need('factor'),
        lowFrequencyFactor: need('low_freq_factor'),
        highFrequencyFactor: need('high_freq_factor'),
        originalMaxPositions: need('original_max_position_embeddings'),
      }
    case 'yarn': {
      const factor = fields.factor ?? maxPositions / originalMaxPositions
      return {
        type,
        factor,
        originalMaxPositions,
        betaFast: fields.beta_fast || 32,
        betaSlow: fields.beta_slow || 1,
        attentionFactor: fields.attention_factor ?? yarnAttentionFactor(factor, fields),
        truncate: fields.truncate ?? true,
      }
    }
    case 'longrope': {
      const factor = fields.factor ?? maxPositions / originalMaxPositions
      const shortFactors = pairFactors('short_factor', need('short_factor'), size)
      const longFactors = pairFactors('long_factor', need('long_factor'), size)
      const attentionFactor = fields.attention_factor ?? longropeAttentionFactor(factor, originalMaxPositions)
      return { type, shortFactors, longFactors, originalMaxPositions, attentionFactor }
    }
    default:
      throw new Error(
        `rope scaling '${type}' is not supported; supported: default, linear, dynamic, llama3, yarn, longrope`,
      )
  }
}

function missing(message: string): never {
  throw new Error(message)
}

/** YaRN, arXiv 2309.00071, Eq. 22: 0.1 ln s + 1; DeepSeek's form with mscale and mscale_all_dim is a ratio of two. */
function yarnAttentionFactor(factor: number, { mscale, mscale_all_dim }: RopeFields): number {
  const of = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1)
  return mscale && mscale_all_dim ? of(mscale) / of(mscale_all_dim) : of(1)
}

/** LongRoPE, arXiv 2402.13753, as Phi-3 has it. */
function longropeAttentionFactor(factor: number, originalMaxPositions: number): number {
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions))
}

function pairFactors(name: string, factors: readonly number[], size: number): readonly number[] {
  if (factors.length === size / 2) return factors
  throw new Error(`rope scaling 'longrope': ${name} has ${factors.length} entries, expected ${size / 2}`)
}
