import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TopLevelSpec } from 'vega-lite'
import { palette, pngOf, svgOf } from '../plot/render.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import type { ArmResult, ExperimentResult } from './reproduce.ts'

/** Draws an experiment's table: <name>.svg and <name>.png in a folder. */
export async function writeFigure(result: ExperimentResult, folder: string): Promise<void> {
  const svg = await figureSvg(result)
  mkdirSync(folder, { recursive: true })
  writeFileAtomic(join(folder, `${result.name}.svg`), svg)
  writeFileAtomic(join(folder, `${result.name}.png`), pngOf(svg))
}

/** What was measured with its intervals, and the paper's figures: along an axis where the arms have places on one, else a line an arm. */
export async function figureSvg(result: ExperimentResult): Promise<string> {
  return await svgOf(result.axis === undefined ? linesSpec(result) : curvesSpec(result, result.axis))
}

const here = 'here, with 95 % interval'
const paperText = ({ paper }: ExperimentResult) => `paper: ${paper}`
const known = (arms: readonly ArmResult[]) => arms.filter(({ paper }) => paper !== null)

function linesSpec(result: ExperimentResult): TopLevelSpec {
  const { title, measure, arms } = result
  const y = { field: 'name', type: 'nominal', sort: null, title: null } as const
  const theirs = paperText(result)
  const points = [
    ...arms.map(({ name, value }) => ({ name, value, what: here })),
    ...known(arms).map(({ name, paper }) => ({ name, value: paper!, what: theirs })),
  ]
  const x = { type: 'quantitative', title: measure, axis: { format: '.0%' } } as const
  const scale = { domain: [here, ...(known(arms).length > 0 ? [theirs] : [])] }
  const legend = { orient: 'bottom', columns: 1, labelLimit: 0, title: null } as const
  return {
    title,
    width: 420,
    height: { step: 19 },
    layer: [
      {
        data: { values: arms.map(({ name, low, high }) => ({ name, low, high })) },
        mark: { type: 'rule', strokeWidth: 2.5, opacity: 0.45, color: palette[0]! },
        encoding: { y, x: { field: 'low', ...x }, x2: { field: 'high' } },
      },
      {
        data: { values: points },
        mark: { type: 'point', size: 60, strokeWidth: 1.8 },
        encoding: {
          y,
          x: { field: 'value', ...x },
          color: { field: 'what', type: 'nominal', scale: { ...scale, range: [palette[0]!, palette[1]!] }, legend },
          shape: { field: 'what', type: 'nominal', scale: { ...scale, range: ['circle', 'diamond'] }, legend },
        },
      },
    ],
  }
}

function curvesSpec(result: ExperimentResult, axis: string): TopLevelSpec {
  const { title, measure, arms } = result
  const theirs = paperText(result)
  const placed = arms.flatMap(({ at, value, low, high, paper }) => (at ? [{ ...at, value, low, high, paper }] : []))
  const points = [
    ...placed.map(({ line, x, value }) => ({ line, x, value })),
    ...placed.flatMap(({ x, paper }) => (paper === null ? [] : [{ line: theirs, x, value: paper }])),
  ]
  const ours = [...new Set(placed.map(({ line }) => line))]
  const lines = [...ours, ...(points.length > placed.length ? [theirs] : [])]
  const ends = placed.map(({ x }) => x)
  const ticks: number[] = [...new Set(ends)]
  const ratio = Math.max(...ends) / Math.min(...ends)
  const x = {
    field: 'x',
    type: 'quantitative',
    title: axis,
    scale: { type: ratio <= 20 || !Number.isFinite(ratio) ? 'linear' : 'log', nice: false, padding: 14 },
    axis: { values: ticks, format: '~r' },
  } as const
  const y = { type: 'quantitative', title: measure, axis: { format: '.0%' } } as const
  const color = {
    field: 'line',
    type: 'nominal',
    title: null,
    scale: {
      domain: lines,
      range: lines.map((line, i) => (line === theirs ? '#777777' : palette[i % palette.length]!)),
    },
    legend: { orient: 'bottom', columns: ours.length > 3 ? 3 : 1, labelLimit: 0 },
  } as const
  const strokeDash = {
    condition: { test: `datum.line === ${JSON.stringify(theirs)}`, value: [5, 4] },
    value: [1, 0],
  }
  return {
    title,
    width: 460,
    height: 260,
    layer: [
      {
        data: { values: placed },
        mark: { type: 'rule', strokeWidth: 2, opacity: 0.4 },
        encoding: { x, y: { field: 'low', ...y }, y2: { field: 'high' }, color },
      },
      {
        data: { values: points },
        mark: { type: 'line', strokeWidth: 2 },
        encoding: { x, y: { field: 'value', ...y }, color, strokeDash },
      },
      {
        data: { values: points },
        mark: { type: 'point', filled: true, size: 45, opacity: 1 },
        encoding: { x, y: { field: 'value', ...y }, color },
      },
    ],
  }
}
