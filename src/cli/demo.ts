import type { Command } from 'commander'
import type { DemoResult } from '../demo/result.ts'
import { createProgress } from './progress.ts'
import { sideBySide } from './table.ts'
import { summaryText } from './train.ts'

export function configure(command: Command): void {
  command.action(async () => {
    const { demo } = await import('../demo/demo.ts') // loads libtorch
    console.log(resultText(await demo({ progress: createProgress() })))
  })
}

export function resultText({ directory, summary, replies }: DemoResult): string {
  const blocks = replies.map(({ prompt, before, after }) => {
    const columns = [
      { title: 'prompt', text: prompt },
      { title: 'before', text: before },
      { title: 'after', text: after },
    ]
    return sideBySide(columns)
  })
  return [...blocks, summaryText({ directory, summary })].join('\n\n')
}
