import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { configYaml } from '../../options/config.ts'
import { OptionError } from '../../options/validate.ts'
import { writeFileAtomic } from '../../tensor/atomic.ts'
import type { ResolvedTrainOptions } from '../../train/options.ts'
import type { DataFacts } from '../../train/prepare.ts'
import type { Evaluation, StepMetrics } from '../../train/run.ts'
import { RunDirectory } from '../../train/run-directory.ts'
import type { WinRateReport } from '../winrate.ts'
import { page, type RunFiles } from './page.ts'
import { pictures } from './pictures.ts'

/** Writes report.html into a run directory, from what is in it and nothing else: of a live run, a dead one, or one copied from another machine. */
export async function writeReport(path: string): Promise<string> {
  const directory = new RunDirectory(path)
  if (!existsSync(directory.configFile))
    throw new OptionError(`${path} is no run directory: it has no config.yaml; give one as in runs/<name>`)
  const file = join(path, 'report.html')
  const run = readRun(directory)
  writeFileAtomic(file, page(run, await pictures(run)))
  return file
}

function readRun(directory: RunDirectory): RunFiles {
  const options: ResolvedTrainOptions = directory.readOptions()
  const model = ['model', 'adapter'].map((name) => join(directory.path, name)).find((folder) => existsSync(folder))
  return {
    name: basename(directory.path),
    path: directory.path,
    options,
    config: configYaml(options).trimEnd(),
    facts: readJson<DataFacts>(directory.dataFile),
    metrics: directory.read<StepMetrics>('metrics'),
    evaluations: directory.read<Evaluation & { step: number }>('evaluation'),
    samples: directory.read('samples'),
    judged: readJson<WinRateReport>(join(directory.path, 'evaluations', 'winrate', 'winrate.json')),
    model: model ?? null,
  }
}

function readJson<T>(file: string): T | null {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as T) : null
}
