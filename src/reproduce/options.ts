import { z } from 'zod'
import { optionGroup } from '../options/option.ts'

const running = optionGroup('Run')

/** In the order in which `all` runs them. */
export const experimentNames = [
  'methods',
  'one-y-per-x',
  'imbalance',
  'noise',
  'contradictory',
  'ablations',
  'sizes',
] as const

export type ExperimentName = (typeof experimentNames)[number]

/** Every option of `prospect reproduce`. */
export const reproduceOptions = z.strictObject({
  experiment: running(
    '--experiment <name>',
    'Which of the experiments',
    z.enum(['all', ...experimentNames]).default('all'),
  ),
  quick: running('--quick', 'One seed, fewer rows and questions: a look at all in minutes', z.boolean().default(false)),
  seeds: running(
    '--seeds <count>',
    'Times that each is trained, with other feedback',
    z.number().int().min(1).optional(),
    '3, or 1 with --quick',
  ),
  output: running(
    '--output <folder>',
    'Where models, results.json and results.md are kept; what is there is not done again',
    z.string().min(1).default('runs/reproduce'),
  ),
  threads: running('--threads <count>', 'Processor threads', z.number().int().min(1).optional(), 'one a physical core'),
})

export type ResolvedReproduceOptions = z.output<typeof reproduceOptions>
