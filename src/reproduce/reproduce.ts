import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Interval, meanInterval, wilson } from '../evaluate/interval.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import { setThreads } from '../tensor/engine.ts'
import type { Progress } from '../train/run.ts'
import { type Experiment, experiments } from './experiments.ts'
import { type ExperimentName, experimentNames, type ResolvedReproduceOptions } from './options.ts'
import { World } from './world.ts'

export interface ArmResult extends Interval {
  name: string
  /** Thumbs up of replies to unseen questions: mean over seeds. */
  share: number
  seeds: number[]
  /** Rows, or pairs, it was trained on with the first seed. */
  rows: number
  /** The paper's figure; null where it has none. */
  paper: number | null
}

export interface ExperimentResult {
  name: ExperimentName
  title: string
  arms: ArmResult[]
  paper: string
  remark: string
}

/** Runs experiments and writes their tables: results.json and results.md in the output folder, after every experiment. */
export async function reproduce(
  options: ResolvedReproduceOptions,
  hooks: { progress: Progress; signal?: AbortSignal },
): Promise<ExperimentResult[]> {
  setThreads(options.threads ?? null)
  const { quick, output } = options
  const size = quick
    ? { mixtureRows: 8000, prompts: 768, questions: 200 }
    : { mixtureRows: 8000, prompts: 2048, questions: 400 }
  const seeds = Array.from({ length: options.seeds ?? (quick ? 1 : 3) }, (_, seed) => seed)
  mkdirSync(output, { recursive: true })
  const world = new World(output, size, hooks)
  const names = options.experiment === 'all' ? experimentNames : [options.experiment]
  const results: ExperimentResult[] = []
  for (const name of names) {
    hooks.progress.log(`${name}: ${experiments[name].title}`)
    results.push(await run(name, experiments[name], world, seeds))
    writeFileAtomic(join(output, 'results.json'), `${JSON.stringify(results, null, 2)}\n`)
    writeFileAtomic(join(output, 'results.md'), markdown(results))
  }
  return results
}

async function run(
  name: ExperimentName,
  experiment: Experiment,
  world: World,
  seeds: readonly number[],
): Promise<ExperimentResult> {
  const arms: ArmResult[] = []
  for (const arm of experiment.arms) {
    const measured = []
    for (const seed of seeds) measured.push(await world.measure(arm, seed))
    const shares = measured.map(({ successes, total }) => successes / total)
    arms.push({
      name: arm.name,
      ...summary(measured),
      seeds: shares,
      rows: measured[0]!.rows,
      paper: experiment.paper.values[arm.name] ?? null,
    })
  }
  return { name, title: experiment.title, arms, paper: experiment.paper.what, remark: experiment.remark }
}

/** One seed: Wilson's interval over questions. More: Student's over seeds, which holds what differs from training to training. */
function summary(measured: readonly { successes: number; total: number }[]): Interval & { share: number } {
  const [only] = measured
  if (measured.length === 1) {
    const { share, low, high } = wilson(only!.successes, only!.total)
    return { share, low, high }
  }
  const { mean, low, high } = meanInterval(measured.map(({ successes, total }) => successes / total))
  return { share: mean, low: Math.max(0, low), high: Math.min(1, high) }
}

/** Tables for people. */
export function markdown(results: readonly ExperimentResult[]): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`
  return results
    .map(({ title, arms, paper, remark }) =>
      [
        `## ${title}`,
        '',
        '| | thumbs up | 95 % interval | rows | paper |',
        '|---|---|---|---|---|',
        ...arms.map(
          ({ name, share, low, high, rows, paper: figure }) =>
            `| ${name} | ${percent(share)} | ${percent(low)} to ${percent(high)} | ${rows || '-'} | ${figure === null ? '-' : figure} |`,
        ),
        '',
        `Paper: ${paper}. ${remark}`,
        '',
      ].join('\n'),
    )
    .join('\n')
}
