import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Command, Option as Flag } from 'commander'
import colors from 'picocolors'
import { readConfig } from '../options/config.ts'
import { OptionError, validate } from '../options/validate.ts'
import { type TrainOptions, trainOptions } from '../train/options.ts'
import type { Evaluation, Progress, ProgressPiece, Run, StepMetrics, Summary, TrainHooks } from '../train/run.ts'
import { Interrupted } from './errors.ts'
import { addFlags, givenFlags, resolveOptions } from './flags.ts'
import { listenForInterrupts } from './interrupt.ts'
import { createProgress } from './progress.ts'
import { alignedTable, formatDuration, formatNumber } from './table.ts'

export function configure(command: Command): void {
  addFlags(command, trainOptions)
  command.addOption(
    new Flag('--resume <run>', 'Continue the run in this directory, with the options it was started with').helpGroup(
      'Configuration:',
    ),
  )
  command.addOption(new Flag('--quiet', 'Show no progress').helpGroup('Configuration:'))
  command.addHelpText(
    'after',
    '\nExample:\n  prospect train --model ./SmolLM2-135M-Instruct --data feedback.jsonl --output runs/thumbs',
  )
  command.action(async () => {
    const { resume, quiet } = command.opts<{ resume?: string; quiet?: boolean }>()
    const options = resume === undefined ? resolveOptions(command, trainOptions) : resumedOptions(command, resume)
    const { train } = await import('../index.ts') // loads libtorch
    console.log(summaryText(await follow(train, options, { resume, progress: createProgress({ silent: quiet }) })))
  })
}

/** The options in a run's config.yaml. Others may not be given: the continued run would not be the one that was started. */
function resumedOptions(command: Command, directory: string): TrainOptions {
  const flags = [...givenFlags(command, trainOptions).keys()].map((option) => option.flag)
  if (command.opts<{ config?: string }>().config !== undefined) flags.push('--config')
  if (flags.length > 0) {
    throw new OptionError(
      `${flags.join(', ')}: not possible with --resume ${directory}, which continues with the run's own options; leave out or start a new run`,
    )
  }
  if (!existsSync(join(directory, 'config.yaml'))) {
    throw new OptionError(
      `--resume ${directory}: no run there (no config.yaml); give a run directory, as in runs/<name>`,
    )
  }
  const config = readConfig(join(directory, 'config.yaml'), trainOptions)
  return validate(trainOptions, config.values, config.locate)
}

/** Runs a training to its end, or to a checkpoint at the first Ctrl-C; throws Interrupted then. */
export async function follow(
  train: (options: TrainOptions, hooks?: TrainHooks) => Promise<Run>,
  options: TrainOptions,
  { resume, progress }: { resume?: string; progress: Progress },
): Promise<Finished> {
  const interrupts = listenForInterrupts(() =>
    progress.log(
      'interrupted: this step is being finished and a checkpoint written; press Ctrl-C again to exit at once',
    ),
  )
  let run: Run | undefined
  try {
    run = await train(options, { signal: interrupts.signal, progress, resume })
    await showSteps(run, progress)
    const summary = await run.finished
    if (!interrupts.signal.aborted || summary.model !== null) return { directory: run.directory, summary }
    throw new Interrupted(resumeText(run.directory), interrupts.exitCode())
  } catch (error) {
    if (error !== interrupts.signal.reason || !interrupts.signal.aborted) throw error
    const directory = run?.directory ?? resume
    throw new Interrupted(
      directory ? resumeText(directory) : 'stopped before the first step: nothing was written',
      interrupts.exitCode(),
    )
  } finally {
    interrupts.dispose()
  }
}

export interface Finished {
  directory: string
  summary: Summary
}

async function showSteps(run: Run, progress: Progress): Promise<void> {
  let training: ProgressPiece | undefined
  try {
    for await (const metrics of run) {
      training ??= progress.start(metrics.steps, 'training', metrics.step - 1)
      training.update(metrics.step, keyMetrics(metrics))
    }
  } finally {
    training?.stop()
  }
}

function keyMetrics({ loss, rewards, kl, learningRate }: StepMetrics): Record<string, number | null> {
  return { loss, ...(rewards && { margin: rewards.margin }), ...(kl && { kl: kl.value }), lr: learningRate }
}

function resumeText(directory: string): string {
  return `stopped; continue with: prospect train --resume ${directory}`
}

export function summaryText({ directory, summary }: Finished): string {
  const { model, steps, seconds, evaluation } = summary
  const lines = [`${formatNumber(steps)} steps in ${formatDuration(seconds)}; run directory: ${directory}`]
  if (evaluation) lines.push('', evaluationTable(evaluation.before, evaluation.after))
  if (model)
    lines.push(
      '',
      `report: ${join(directory, 'report.html')}`,
      `model: ${model}`,
      `try it: prospect generate --model ${model} --prompt "..."`,
    )
  return lines.join('\n')
}

function evaluationTable(before: Evaluation, after: Evaluation): string {
  const row = (name: string, of: (evaluation: Evaluation) => number | null | undefined) => {
    const cells = [before, after].map((evaluation) => of(evaluation) ?? null)
    return cells.every((value) => value === null)
      ? []
      : [[name, ...cells.map((value) => (value === null ? '-' : formatNumber(value)))]]
  }
  const rows = [
    [`${formatNumber(after.rows)} held-out rows`, 'before', 'after'].map((title) => colors.bold(title)),
    ...row('loss', ({ loss }) => loss),
    ...row('reward margin', ({ rewards }) => rewards?.margin),
    ...row('reward accuracy', ({ rewards }) => rewards?.accuracy),
    ...row('area under curve', ({ areaUnderCurve }) => areaUnderCurve),
  ]
  return alignedTable(rows, ['left', 'right', 'right'])
}
