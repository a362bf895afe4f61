import { type Command, Option as Flag } from 'commander'
import colors from 'picocolors'
import type { DemoResult } from '../demo/result.ts'
import type { Proportion } from '../evaluate/interval.ts'
import { type ObjectiveName, objectiveNames } from '../loss/table.ts'
import { Interrupted } from './errors.ts'
import { listenForInterrupts } from './interrupt.ts'
import { createProgress } from './progress.ts'
import { alignedTable, formatDuration, sideBySide } from './table.ts'

export function configure(command: Command): void {
  const loss = new Flag('--loss <name>', 'objective to align with').choices(objectiveNames).default('kto')
  command.addOption(loss)
  command.action(async () => {
    const { demo } = await import('../demo/demo.ts') // loads libtorch
    const progress = createProgress()
    const interrupts = listenForInterrupts(() =>
      progress.log('interrupted: stopping; press Ctrl-C again to exit at once'),
    )
    try {
      console.log(
        resultText(await demo({ progress, signal: interrupts.signal, ...command.opts<{ loss: ObjectiveName }>() })),
      )
    } catch (error) {
      if (!interrupts.signal.aborted || error !== interrupts.signal.reason) throw error
      throw new Interrupted('stopped; `prospect demo` starts anew', interrupts.exitCode())
    } finally {
      interrupts.dispose()
    }
  })
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

export function resultText(result: DemoResult): string {
  const { directory, run, report, loss, model, thumbs, before, after, replies, seconds } = result
  const blocks = replies.map(({ prompt, before: first, after: second }) =>
    sideBySide([
      { title: 'question', text: prompt },
      { title: 'before', text: first },
      { title: 'after', text: second },
    ]),
  )
  const rate = (name: string, { share, low, high }: Proportion) => [
    name,
    percent(share),
    `${percent(low)} to ${percent(high)}`,
  ]
  const table = alignedTable(
    [
      [`${after.total} unseen questions`, 'thumbs up', '95 % interval'].map((title) => colors.bold(title)),
      rate('before (SFT)', before),
      rate(`after (${loss.toUpperCase()})`, after),
    ],
    ['left', 'right', 'left'],
  )
  return [
    '',
    ...blocks.flatMap((block) => [block, '']),
    table,
    '',
    verdict(before, after),
    `aligned with ${thumbs.up} thumbs up and ${thumbs.down} thumbs down, in ${formatDuration(seconds)} in all`,
    '',
    `everything it made: ${directory}; the alignment's run directory: ${run}`,
    `look at it in a browser: ${report}`,
    '',
    `ask it:               prospect generate --model ${model} --prompt "What color is the harbor lamp?"`,
    'your model and data:  prospect train --model ./SmolLM2-135M-Instruct --data feedback.jsonl --output runs/thumbs',
    '                      a row of feedback.jsonl: {"prompt": "...", "completion": "...", "label": true}',
  ].join('\n')
}

function verdict(before: Proportion, after: Proportion): string {
  const points = `${(100 * Math.abs(after.share - before.share)).toFixed(1)} points`
  if (after.low > before.high) return colors.green(`better: up by ${points}, and the intervals do not overlap`)
  if (after.high < before.low) return colors.red(`worse: down by ${points}, and the intervals do not overlap`)
  return colors.yellow('no evidence of a difference: the intervals overlap')
}
