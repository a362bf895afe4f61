import { join } from 'node:path'
import { type Interval, meanInterval } from '../evaluate/interval.ts'
import { makeFolder } from '../options/files.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import { setThreads } from '../tensor/engine.ts'
import type { Hooks } from './cells.ts'
import { type Arm, type Experiment, experiments } from './experiments.ts'
import { writeFigure } from './figure.ts'
import { Files } from './files.ts'
import { type ExperimentName, experimentNames, type ResolvedReproduceOptions } from './options.ts'
import { Shop } from './shop.ts'
import { markdown } from './tables.ts'
import type { Measured, World } from './world.ts'

export interface ArmResult extends Interval {
  name: string
  /** What the world measures: mean over seeds. */
  value: number
  seeds: number[]
  /** Rows it was trained on with the first seed. */
  rows: number
  /** The paper's figure; null where it has none. */
  paper: number | null
  at?: Arm['at']
}

/** Of two arms, the first minus the second, by pairs of equal seeds (or of equal questions, with one seed). */
export interface Difference extends Interval {
  first: string
  second: string
  mean: number
}

export interface ExperimentResult {
  name: ExperimentName
  title: string
  measure: string
  seeds: number
  arms: ArmResult[]
  differences: Difference[]
  paper: string
  remark: string
  axis?: string
}

/** Runs experiments and writes their tables and figures into the output folder, after every experiment: results.json, results.md, <name>.svg and <name>.png. */
export async function reproduce(options: ResolvedReproduceOptions, hooks: Hooks): Promise<ExperimentResult[]> {
  setThreads(options.threads ?? null)
  const { output } = options
  const seeds = Array.from({ length: options.seeds ?? (options.quick ? 1 : 5) }, (_, seed) => seed)
  makeFolder('--output', output)
  const world = await worldOf(options, hooks)
  const names = options.experiment === 'all' ? experimentNames : [options.experiment]
  const chosen = names
    .map((name) => ({ name, experiment: narrowed(experiments[name], options.only) }))
    .filter(({ experiment }) => experiment.arms(world.sizes).length > 0)
  if (chosen.length === 0) throw new Error(noSuchArm(options, names, world.sizes))
  const results: ExperimentResult[] = []
  for (const { name, experiment } of chosen) {
    hooks.progress.log(`${name}: ${experiment.title}`)
    results.push(await run(name, experiment, world, seeds))
    writeFileAtomic(join(output, 'results.json'), `${JSON.stringify(results, null, 2)}\n`)
    writeFileAtomic(join(output, 'results.md'), markdown(results))
    await writeFigure(results.at(-1)!, output)
  }
  return results
}

function noSuchArm(
  { experiment, only = [] }: ResolvedReproduceOptions,
  names: readonly ExperimentName[],
  sizes: readonly string[],
): string {
  const arms = names.flatMap((name) => experiments[name].arms(sizes))
  const methods = new Set(arms.flatMap(({ name }) => methodsOf(name)))
  return `--only ${only.join(' ')}: ${experiment} has no such method; it has ${[...methods].join(', ')}`
}

async function worldOf(options: ResolvedReproduceOptions, hooks: Hooks): Promise<World> {
  const { quick, output, model, data } = options
  if (model && data) return await Files.open({ ...options, model, data }, hooks)
  const size = quick
    ? { mixtureRows: 8000, prompts: 512, epochs: 1, questions: 400 }
    : { mixtureRows: 8000, prompts: 768, epochs: 1, questions: 600 }
  return new Shop(output, size, hooks)
}

/** The experiment with the arms of some methods, and the differences between these. */
function narrowed(experiment: Experiment, only: readonly string[] | undefined): Experiment {
  if (only === undefined) return experiment
  const kept = (arm: string) => methodsOf(arm).some((method) => only.includes(method))
  return {
    ...experiment,
    arms: (sizes) => experiment.arms(sizes).filter(({ name }) => kept(name)),
    differences: (experiment.differences ?? []).filter((arms) => arms.every(kept)),
  }
}

/** Of the arm "SFT+KTO, 128": SFT+KTO and KTO. */
function methodsOf(arm: string): string[] {
  const method = arm.split(', ')[0]!
  return [method, method.split('+').at(-1)!]
}

async function run(
  name: ExperimentName,
  experiment: Experiment,
  world: World,
  seeds: readonly number[],
): Promise<ExperimentResult> {
  const arms = experiment.arms(world.sizes)
  const measured = new Map(arms.map((arm) => [arm.name, [] as Measured[]]))
  const part = experiment.tuning ? 'validation' : 'test'
  for (const seed of experiment.tuning ? seeds.slice(0, 2) : seeds)
    for (const arm of arms) measured.get(arm.name)!.push(await world.measured(arm, seed, part))
  return {
    name,
    title: experiment.title,
    measure: world.measure,
    seeds: measured.get(arms[0]!.name)!.length,
    arms: arms.map((arm) => armResult(arm, measured.get(arm.name)!, experiment)),
    differences: (experiment.differences ?? []).flatMap(([first, second]) => {
      const difference = differenceOf(measured.get(first)!, measured.get(second)!)
      return difference ? [{ first, second, ...difference }] : []
    }),
    paper: experiment.paper.what,
    remark: [experiment.note, world.remark].filter(Boolean).join(' '),
    ...(experiment.axis !== undefined && { axis: experiment.axis }),
  }
}

/** One seed: the measure's own interval. More: Student's over seeds, which holds what differs from training to training. */
function armResult({ name, at }: Arm, measured: readonly Measured[], { paper }: Experiment): ArmResult {
  const values = measured.map(({ value }) => value)
  const { mean, low, high } = meanInterval(values)
  const interval = measured.length === 1 ? measured[0]! : { low: Math.max(0, low), high: Math.min(1, high) }
  return {
    name,
    value: mean,
    low: interval.low,
    high: interval.high,
    seeds: values,
    rows: measured[0]!.rows,
    paper: paper.values[name] ?? null,
    ...(at && { at }),
  }
}

/** null where one seed does not say how questions differ. */
export function differenceOf(
  first: readonly Measured[],
  second: readonly Measured[],
): (Interval & { mean: number }) | null {
  if (first.length > 1) return meanInterval(first.map(({ value }, i) => value - second[i]!.value))
  const [one, other] = [first[0]!.points, second[0]!.points]
  return one && other ? meanInterval(one.map((point, i) => point - other[i]!)) : null
}
