import { type KtoOptions, kto } from './kto.ts'
import type { Objective } from './objective.ts'
import { sft } from './sft.ts'

export type LossOptions = { type: 'kto' | 'sft' } & KtoOptions

const objectives: Record<LossOptions['type'], (options: LossOptions) => Objective> = { kto, sft }

/** The objective that the options name. */
export function makeObjective(options: LossOptions): Objective {
  return objectives[options.type](options)
}
