import type { Command } from 'commander'
import colors from 'picocolors'
import type { MadeResult } from '../evaluate/made.ts'
import { judgementsOptions, rewardsOptions, winRateOptions } from '../evaluate/options.ts'
import type { RewardReport } from '../evaluate/reward-report.ts'
import type { Verdict } from '../evaluate/win-rate.ts'
import type { WinRateReport } from '../evaluate/winrate.ts'
import { Interrupted } from './errors.ts'
import { addFlags, resolveOptions } from './flags.ts'
import { listenForInterrupts } from './interrupt.ts'
import { createProgress } from './progress.ts'
import { alignedTable, formatNumber } from './table.ts'

export function configure(command: Command): void {
  const winrate = command
    .command('winrate')
    .summary("how often a judge prefers a model's replies to another's")
    .description("How often a judge prefers a model's replies to another's, and how sure that is.")
  addFlags(winrate, winRateOptions)
  winrate.addHelpText(
    'after',
    '\nExamples:\n  prospect evaluate winrate --candidate runs/thumbs/model --baseline ./SmolLM2-135M-Instruct --prompts test.jsonl --judge https://api.openai.com/v1' +
      '\n  prospect evaluate winrate --candidate new.jsonl --baseline old.jsonl --judge ./judge.mjs',
  )
  winrate.action(async () => {
    const options = resolveOptions(winrate, winRateOptions)
    const { evaluateWinRate } = await import('../evaluate/winrate.ts') // loads libtorch
    console.log(winRateText(await stoppable((hooks) => evaluateWinRate(options, hooks))))
  })
  const judgements = command
    .command('judgements')
    .summary('what judgements say that were made before, here or by HALOs')
    .description('What judgements say that were made before, here or by HALOs, with intervals.')
  addFlags(judgements, judgementsOptions)
  judgements.addHelpText('after', '\nExample:\n  prospect evaluate judgements --judgements results.jsonl')
  judgements.action(async () => {
    const { judgementsMade } = await import('../evaluate/made.ts')
    console.log(madeText(judgementsMade(resolveOptions(judgements, judgementsOptions).judgements)))
  })
  const rewards = command
    .command('rewards')
    .summary('what the implicit reward of a trained model says about judged rows')
    .description(
      'What the implicit reward of a trained model says about judged rows: accuracy, calibration, drift, rows to look at.',
    )
  addFlags(rewards, rewardsOptions)
  rewards.addHelpText('after', '\nExample:\n  prospect evaluate rewards --run runs/thumbs --data held-out.jsonl')
  rewards.action(async () => {
    const options = resolveOptions(rewards, rewardsOptions)
    const { evaluateRewards } = await import('../evaluate/rewards.ts') // loads libtorch
    console.log(rewardText(await stoppable((hooks) => evaluateRewards(options, hooks)), options.output))
  })
}

/** Runs work that Ctrl-C stops and the same command continues. */
async function stoppable<R>(
  work: (hooks: { progress: ReturnType<typeof createProgress>; signal: AbortSignal }) => Promise<R>,
): Promise<R> {
  const progress = createProgress()
  const interrupts = listenForInterrupts(() =>
    progress.log('interrupted: stopping; press Ctrl-C again to exit at once'),
  )
  try {
    return await work({ progress, signal: interrupts.signal })
  } catch (error) {
    if (!interrupts.signal.aborted) throw error
    throw new Interrupted('stopped; the same command goes on', interrupts.exitCode())
  } finally {
    interrupts.dispose()
  }
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`
const range = ({ low, high }: { low: number; high: number }) => `${percent(low)} to ${percent(high)}`

export function verdictText(verdict: Verdict): string {
  if (verdict === 'better') return colors.green('better')
  return verdict === 'worse' ? colors.red('worse') : colors.yellow('no evidence of a difference')
}

export function winRateText(report: WinRateReport): string {
  const { wins, ties, losses, rate, decided, lengthControlled, byLength, signTest, exact } = report
  const noneSimilar = byLength.every(({ bucket, comparisons }) => bucket !== 'similar' || comparisons === 0)
  const rows = [
    ['', 'share', '95 % interval'].map((title) => colors.bold(title)),
    ['win rate, ties half', percent(rate.value), `${range(rate)} (bootstrap)`],
    ['wins among decided', percent(decided.share), `${range(decided)} (Wilson)`],
    ...(lengthControlled
      ? [
          [
            `win rate at equal lengths${noneSimilar ? ' (none is)' : ''}`,
            percent(lengthControlled.value),
            `${range(lengthControlled)}${noneSimilar ? ' (extrapolated)' : ''}`,
          ],
        ]
      : []),
    ...(exact
      ? [
          ['candidate right', percent(exact.candidate.share), range(exact.candidate)],
          ['baseline right', percent(exact.baseline.share), range(exact.baseline)],
        ]
      : []),
  ]
  const lengths = byLength
    .filter(({ comparisons }) => comparisons > 0)
    .map(({ bucket, comparisons, rate: share }) => `${bucket}: ${percent(share!)} of ${comparisons}`)
  const notes = [
    ...(report.undecided > 0 ? [`${report.undecided} left out: the judge named neither reply`] : []),
    ...(report.unjudged > 0
      ? [
          `${report.unjudged} not judged yet: ${report.stopped === 'cost' ? 'the cost limit was reached; a higher --max-cost goes on' : 'the same command goes on'}`,
        ]
      : []),
    ...(report.cost > 0 ? [`cost of all judgements: ${report.cost.toFixed(2)} dollars at the prices given`] : []),
  ]
  return [
    `${verdictText(report.verdict)}: ${wins} wins, ${ties} ties, ${losses} losses of ${report.candidate} against ${report.baseline} (sign test: p = ${signTest.toPrecision(2)})`,
    '',
    alignedTable(rows, ['left', 'right', 'left']),
    '',
    `by length of the candidate's reply: ${lengths.join(', ')}`,
    ...notes,
    `judgements: ${report.judgements}`,
  ].join('\n')
}

export function madeText(results: readonly MadeResult[]): string {
  const titles = ['', 'judge', 'wins of all', '95 % interval', 'wins of decided', '95 % interval', 'p', 'verdict']
  const rows = results.map(({ name, judge, total, wins, ties, undecided, winsOfAll, decided, signTest, verdict }) => [
    name,
    judge,
    `${percent(winsOfAll.share)} (${wins} of ${total}; ${ties} ties, ${undecided} undecided)`,
    range(winsOfAll),
    percent(decided.share),
    range(decided),
    signTest.toPrecision(2),
    verdictText(verdict),
  ])
  return alignedTable([titles.map((title) => colors.bold(title)), ...rows], new Array(titles.length).fill('left'))
}

export function rewardText(report: RewardReport, output: string): string {
  const { rows, desirable, cut, accuracy, area, calibration, kl, drift, lists } = report
  const table = [
    ['', 'value', '95 % interval'].map((title) => colors.bold(title)),
    ["reward on its label's side of z0", percent(accuracy.share), range(accuracy)],
    ...(area
      ? [['area under the ROC curve', area.area.toFixed(3), `${area.low.toFixed(3)} to ${area.high.toFixed(3)}`]]
      : []),
    [
      'calibration error',
      calibration.expectedError.toFixed(3),
      `${calibration.errorOfCalibrated.toFixed(3)} were it calibrated`,
    ],
    ...(kl
      ? [
          [
            'KL to the reference, own replies',
            kl.mean.toFixed(2),
            `${kl.low.toFixed(2)} to ${kl.high.toFixed(2)} nats a reply`,
          ],
        ]
      : []),
    ...drift.map(({ label, mean, low, high }) => [
      `log-probability of ${label} rows moved by`,
      mean.toFixed(2),
      `${low.toFixed(2)} to ${high.toFixed(2)} nats`,
    ]),
  ]
  return [
    `${formatNumber(rows)} rows, ${formatNumber(desirable)} of them thumbs-up`,
    ...(cut && cut.prompts + cut.completions > 0
      ? [`over ${cut.maxLength} tokens: ${cut.prompts} prompts and ${cut.completions} completions were cut`]
      : []),
    '',
    alignedTable(table, ['left', 'right', 'left']),
    '',
    `rows to look at, in ${output}: ${lists.mislabelledInAll} beyond the middle of the other label, ${lists.saturated} saturated, ${lists.worsenedInAll} worsened`,
  ].join('\n')
}
