import type { Command } from 'commander'
import { exportOptions } from '../export/options.ts'
import { addFlags, resolveOptions } from './flags.ts'
import { listenForInterrupts } from './interrupt.ts'
import { createProgress } from './progress.ts'

export function configure(command: Command): void {
  addFlags(command, exportOptions)
  command.addHelpText(
    'after',
    '\nExamples:\n  prospect export --model runs/thumbs --gguf q8_0 --output thumbs.gguf\n' +
      '  prospect export --model runs/thumbs --merge --output thumbs-merged\n' +
      '  prospect export --model runs/thumbs --push me/thumbs --private',
  )
  command.action(async () => {
    const options = resolveOptions(command, exportOptions)
    const { exportModel } = await import('../export/export.ts') // loads libtorch
    const interrupts = listenForInterrupts(() => {})
    try {
      const { path, url } = await exportModel(options, { progress: createProgress(), signal: interrupts.signal })
      for (const made of [path, url]) if (made !== null) console.log(made)
    } finally {
      interrupts.dispose()
    }
  })
}
