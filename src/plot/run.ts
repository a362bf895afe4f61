import { basename, resolve } from 'node:path'
import type { Evaluation, StepMetrics } from '../train/run.ts'
import { RunDirectory } from '../train/run-directory.ts'
import { palette, svgOf } from './render.ts'

type Metrics = Omit<StepMetrics, 'timings'>

interface Panel {
  title: string
  /** What is drawn of a step, by the name of its line; null where a step has no such value. */
  lines: Record<string, (step: Metrics) => number | null | undefined>
  /** Has no noise to be smoothed away. */
  exact?: boolean
  /** The same of held-out rows, where that is measured. */
  heldOut?: (evaluation: Evaluation) => number | null | undefined
}

const panels: readonly Panel[] = [
  { title: 'loss', lines: { loss: ({ loss }) => loss }, heldOut: ({ loss }) => loss },
  {
    title: 'mean reward',
    lines: { 'thumbs up': ({ rewards }) => rewards?.chosen, 'thumbs down': ({ rewards }) => rewards?.rejected },
  },
  {
    title: 'reward margin',
    lines: { margin: ({ rewards }) => rewards?.margin },
    heldOut: ({ rewards }) => rewards?.margin,
  },
  {
    title: 'reward accuracy',
    lines: { accuracy: ({ rewards }) => rewards?.accuracy },
    heldOut: ({ rewards }) => rewards?.accuracy,
  },
  { title: 'reference point z0', lines: { z0: ({ kl }) => kl?.value } },
  {
    title: 'mean log-probability',
    lines: { 'thumbs up': ({ logps }) => logps.chosen, 'thumbs down': ({ logps }) => logps.rejected },
  },
  { title: 'gradient norm', lines: { norm: ({ gradNorm }) => gradNorm } },
  { title: 'saturated share', lines: { saturated: (step) => step.saturated } },
  { title: 'learning rate', lines: { rate: ({ learningRate }) => learningRate }, exact: true },
]

interface Point {
  step: number
  value: number
  smooth: number
  run: string
  line: string
}

const mostPoints = 400

/** The metrics of one or several runs, panel by panel, as the text of an SVG image. Throws for a folder without metrics. */
export async function runSvg(directories: readonly string[]): Promise<string> {
  const runs = directories.map((path) => ({ name: basename(resolve(path)), steps: stepsOf(path) }))
  const names = runs.map(({ name }) => name)
  const distinct = runs.map(({ name, steps }, i) => ({
    name: names.indexOf(name) === names.lastIndexOf(name) ? name : directories[i]!,
    steps,
  }))
  const drawn = panels
    .map((panel) => ({ ...panel, points: distinct.flatMap((run) => pointsOf(run, panel)) }))
    .filter(({ points }) => points.length > 0)
  const several = runs.length > 1
  return await svgOf({
    ...(several ? {} : { title: distinct[0]!.name }),
    columns: 3,
    concat: drawn.map(({ title, points, lines }) => panelSpec(title, points, several, Object.keys(lines).length > 1)),
    resolve: { scale: { color: several ? 'shared' : 'independent', strokeDash: 'independent' } },
  })
}

/** The panels of one run, each an SVG image of its own, with what was measured on held-out rows as dots. */
export async function panelSvgs(
  steps: readonly Metrics[],
  evaluations: readonly (Evaluation & { step: number })[],
): Promise<{ title: string; svg: string }[]> {
  const drawn = panels
    .map((panel) => ({ ...panel, points: pointsOf({ name: '', steps }, panel) }))
    .filter(({ points }) => points.length > 0)
  return await Promise.all(
    drawn.map(async ({ title, points, lines, heldOut }) => {
      const { title: _, ...panel } = panelSpec(title, points, false, Object.keys(lines).length > 1)
      const dots = evaluations.flatMap((evaluation) => {
        const value = heldOut?.(evaluation)
        return value == null || !Number.isFinite(value) ? [] : [{ step: evaluation.step, value, line: 'held out' }]
      })
      const layer = dots.length === 0 ? panel.layer : [...panel.layer, heldOutDots(dots)]
      return { title, svg: await svgOf({ ...panel, background: 'transparent', layer }) }
    }),
  )
}

function heldOutDots(values: readonly object[]) {
  return {
    data: { values: [...values] },
    mark: { type: 'point', filled: true, size: 50, opacity: 1 } as const,
    encoding: {
      x: { field: 'step', type: 'quantitative' } as const,
      y: { field: 'value', type: 'quantitative' } as const,
      color: { field: 'line', type: 'nominal', title: null, scale: { range: [palette[1]!] } } as const,
    },
  }
}

function stepsOf(path: string): Metrics[] {
  const steps = new RunDirectory(path).read<Metrics>('metrics')
  if (steps.length === 0)
    throw new Error(`${path}: no metrics.jsonl with steps: give the directory of a run, as runs/<name>`)
  return steps
}

/** The values of each line, each with the mean of those around it; of long runs, means of equal stretches. */
function pointsOf({ name, steps }: { name: string; steps: readonly Metrics[] }, { lines, exact }: Panel): Point[] {
  return Object.entries(lines).flatMap(([line, of]) => {
    const known = steps.flatMap((step) => {
      const value = of(step)
      return value == null || !Number.isFinite(value) ? [] : [{ step: step.step, value }]
    })
    const thinned = inStretches(known, Math.ceil(known.length / mostPoints))
    const half = exact ? 0 : Math.floor(thinned.length / 40)
    return thinned.map(({ step, value }, i) => {
      const around = thinned.slice(Math.max(0, i - half), i + half + 1)
      return { step, value, smooth: mean(around.map((point) => point.value)), run: name, line }
    })
  })
}

function inStretches(points: readonly { step: number; value: number }[], size: number) {
  if (size <= 1) return points
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const stretch = points.slice(i * size, (i + 1) * size)
    return { step: stretch.at(-1)!.step, value: mean(stretch.map(({ value }) => value)) }
  })
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function panelSpec(title: string, values: readonly Point[], several: boolean, manyLines: boolean) {
  const x = { field: 'step', type: 'quantitative', title: 'step' } as const
  const scale = { zero: false } as const
  const colour = several
    ? { color: { field: 'run', type: 'nominal', sort: null, title: null } as const }
    : manyLines
      ? { color: { field: 'line', type: 'nominal', sort: null, title: null } as const }
      : {}
  const dash = several && manyLines ? { strokeDash: { field: 'line', type: 'nominal', title: null } as const } : {}
  const line = (field: 'value' | 'smooth', opacity: number, strokeWidth: number) => ({
    mark: { type: 'line', opacity, strokeWidth } as const,
    encoding: { x, y: { field, type: 'quantitative', title: null, scale } as const, ...colour, ...dash },
  })
  return {
    title,
    width: 260,
    height: 150,
    data: { values: [...values] },
    layer: [line('value', 0.3, 1), line('smooth', 1, 2)],
  }
}
