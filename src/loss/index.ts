import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'
import { type LossOptions, objectives, settingsOf } from './table.ts'

export type { LossOptions, ObjectiveName } from './table.ts'

const entries = Object.entries(objectives).map(async ([name, { load }]) => [name, await load()] as const)
const makers: Record<string, (settings: Settings) => Objective> = Object.fromEntries(await Promise.all(entries))

/** The objective that the options name. Hyperparameters that it does not have are not looked at. */
export function makeObjective(options: LossOptions): Objective {
  return makers[options.type]!(settingsOf(options))
}
