import { z } from 'zod'
import { optionGroup } from '../options/option.ts'
import type { Objective } from './objective.ts'
import { commonDefaults, hyperparameters, type Settings } from './options.ts'

/** An objective: what the command line needs to know of it without loading tensors, and its file. */
interface Row {
  /** A line for help and documentation. */
  summary: string
  /** Which hyperparameters it looks at; others are refused. */
  options: readonly (keyof Settings)[]
  /** Where they differ from `commonDefaults`. */
  defaults?: Partial<Settings>
  load(): Promise<(settings: Settings) => Objective>
}

/** Every objective by the name that `--loss` takes. */
export const objectives = {
  kto: {
    summary: 'Kahneman-Tversky optimisation',
    options: [
      'beta',
      'desirableWeight',
      'undesirableWeight',
      'valueFunction',
      'valueAlpha',
      'valueLambda',
      'referencePoint',
      'referencePointValue',
      'referencePointMomentum',
      'referencePointBlock',
      'referenceFree',
      'humanline',
      'humanlineLow',
      'humanlineHigh',
    ],
    defaults: { beta: 0.1 },
    load: async () => (await import('./kto.ts')).kto,
  },
  sft: {
    summary: 'supervised fine-tuning on thumbs-up rows',
    options: [],
    load: async () => (await import('./sft.ts')).sft,
  },
  csft: {
    summary: 'supervised fine-tuning on all rows, told apart by control tokens',
    options: ['desirableControl', 'undesirableControl'],
    load: async () => (await import('./csft.ts')).csft,
  },
  dpo: {
    summary: 'direct preference optimisation',
    options: ['beta', 'humanline', 'humanlineLow', 'humanlineHigh'],
    defaults: { beta: 0.1 },
    load: async () => (await import('./dpo.ts')).dpo,
  },
  cdpo: {
    summary: 'conservative DPO, for pairs some of which are the wrong way round',
    options: ['beta', 'labelSmoothing', 'humanline', 'humanlineLow', 'humanlineHigh'],
    defaults: { beta: 0.1 },
    load: async () => (await import('./cdpo.ts')).cdpo,
  },
  'robust-dpo': {
    summary: 'DPO without bias from pairs that are the wrong way round',
    options: ['beta', 'labelSmoothing'],
    defaults: { beta: 0.1 },
    load: async () => (await import('./robust-dpo.ts')).robustDpo,
  },
  ipo: {
    summary: 'identity preference optimisation',
    options: ['beta', 'humanline', 'humanlineLow', 'humanlineHigh'],
    defaults: { beta: 0.1 },
    load: async () => (await import('./ipo.ts')).ipo,
  },
  slic: {
    summary: 'sequence likelihood calibration: a hinge on pairs, and imitation of the chosen ones',
    options: ['margin', 'sftWeight', 'humanline', 'humanlineLow', 'humanlineHigh'],
    defaults: { margin: 1, sftWeight: 0.1 },
    load: async () => (await import('./slic.ts')).slic,
  },
  simpo: {
    summary: 'simple preference optimisation: mean log-probabilities, a margin, no reference',
    options: ['beta', 'gammaBetaRatio', 'humanline', 'humanlineLow', 'humanlineHigh'],
    defaults: { beta: 2, gammaBetaRatio: 0.5 },
    load: async () => (await import('./simpo.ts')).simpo,
  },
  orpo: {
    summary: 'odds ratio preference optimisation: imitation and an odds ratio, no reference',
    options: ['oddsRatioWeight'],
    defaults: { oddsRatioWeight: 0.1 },
    load: async () => (await import('./orpo.ts')).orpo,
  },
  'apo-zero': {
    summary: 'anchored preference optimisation: chosen up, rejected down',
    options: ['beta'],
    defaults: { beta: 0.1 },
    load: async () => (await import('./apo-zero.ts')).apoZero,
  },
  'apo-zero-unpaired': {
    summary: 'APO-zero on single completions',
    options: ['beta', 'desirableWeight', 'undesirableWeight'],
    defaults: { beta: 0.1 },
    load: async () => (await import('./apo-zero-unpaired.ts')).apoZeroUnpaired,
  },
  bco: {
    summary: 'binary classifier optimisation, with a running mean of rewards',
    options: [
      'beta',
      'desirableWeight',
      'undesirableWeight',
      'densityRatio',
      'densityRatioLow',
      'densityRatioHigh',
      'densityRatioSample',
    ],
    defaults: { beta: 0.1 },
    load: async () => (await import('./bco.ts')).bco,
  },
  ppo: {
    summary: 'offline PPO with rewards +1 and -1',
    options: ['clipRange', 'klCoefficient', 'humanline', 'humanlineLow', 'humanlineHigh'],
    load: async () => (await import('./ppo.ts')).ppo,
  },
  'ppo-value': {
    summary: 'offline PPO with advantages over a learned value head',
    options: [
      'clipRange',
      'klCoefficient',
      'discount',
      'advantageDecay',
      'criticCoefficient',
      'humanline',
      'humanlineLow',
      'humanlineHigh',
    ],
    load: async () => (await import('./ppo-value.ts')).ppoValue,
  },
} satisfies Record<string, Row>

export type ObjectiveName = keyof typeof objectives
export const objectiveNames = Object.keys(objectives) as [ObjectiveName, ...ObjectiveName[]]

/** An objective's name and those of its hyperparameters that differ from its defaults. */
export type LossOptions = { type: ObjectiveName } & { [K in keyof Settings]?: Settings[K] | undefined }

const group = optionGroup('Objective')

type Hyperparameters = { [K in keyof Settings]: z.ZodOptional<(typeof hyperparameters)[K]['schema']> }

/** The rows of the table of options that objectives have: which one, and its hyperparameters. */
export const lossOptions = {
  type: group(
    '--loss <name>',
    'Objective: KTO, or another of its family (docs/objectives.md)',
    z.enum(objectiveNames).default('kto'),
  ),
  ...(Object.fromEntries(
    Object.entries(hyperparameters).map(([name, { flag, description, schema }]) => [
      name,
      group(flag, description, schema.optional(), defaultText(name as keyof Settings)),
    ]),
  ) as Hyperparameters),
}

/** All hyperparameters: those given, else the objective's defaults. */
export function settingsOf(options: LossOptions): Settings {
  const { type, ...given } = options
  const known = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  return { ...commonDefaults, ...rowOf(type).defaults, ...known }
}

/** Hyperparameters that were given and that the objective does not have, each with what to say of it. */
export function foreignOptions(options: LossOptions): { name: string; problem: string }[] {
  const { type, ...given } = options
  const allowed = new Set<string>(rowOf(type).options)
  return Object.entries(given).flatMap(([name, value]) => {
    if (value === undefined || allowed.has(name)) return []
    const others = objectiveNames.filter((other) => (rowOf(other).options as readonly string[]).includes(name))
    return [{ name, problem: `--loss ${type} has no such option (it is of ${others.join(', ')}); leave it out` }]
  })
}

/** The options with the objective's own hyperparameters all in place, and no others. */
export function completeLoss(options: LossOptions): LossOptions {
  const settings = settingsOf(options)
  return {
    type: options.type,
    ...Object.fromEntries(rowOf(options.type).options.map((name) => [name, settings[name]])),
  }
}

/** The default of a hyperparameter as help shows it: `0.1; simpo: 2`. */
function defaultText(name: keyof Settings): string {
  const common = commonDefaults[name]
  const own = objectiveNames.flatMap((objective) => {
    const value = rowOf(objective).defaults?.[name]
    return value === undefined || value === common ? [] : [`${objective}: ${value}`]
  })
  return [String(common), ...own].join('; ')
}

function rowOf(name: ObjectiveName): Row {
  return objectives[name]
}
