import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { OptionError } from '../options/validate.ts'
import { writeFileAtomic } from '../tensor/atomic.ts'
import type { PlotOptions } from './options.ts'
import { pngOf } from './render.ts'
import { runSvg } from './run.ts'
import { valueFunctionsSvg } from './value.ts'

/** Draws value functions, or the metrics of runs; returns the files that were written. */
export async function plot(
  what: 'value' | 'run',
  directories: readonly string[],
  options: PlotOptions,
): Promise<string[]> {
  if (what === 'run' && directories.length === 0)
    throw new OptionError('plot run: no run directory is given; give one or several, as runs/<name>')
  if (what === 'value' && directories.length > 0)
    throw new OptionError(`plot value: takes no directories, got ${directories.join(', ')}; did you mean plot run?`)
  const svg = what === 'run' ? await runSvg(directories) : await valueSvg(options)
  return write(svg, options.output ?? `plots/${what}`, options.scale)
}

async function valueSvg({ loss, known, range }: PlotOptions): Promise<string> {
  return await valueFunctionsSvg({ losses: loss ? [loss] : [], known, range })
}

function write(svg: string, output: string, scale: number): string[] {
  const ending = /\.(svg|png)$/.exec(output)?.[0]
  const files = ending ? [output] : [`${output}.svg`, `${output}.png`]
  mkdirSync(dirname(output), { recursive: true })
  for (const file of files) writeFileAtomic(file, file.endsWith('.png') ? pngOf(svg, { scale }) : svg)
  return files
}
