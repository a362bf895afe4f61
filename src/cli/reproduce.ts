import { Argument, type Command } from 'commander'
import { reproduceOptions } from '../reproduce/options.ts'
import { markdown } from '../reproduce/tables.ts'
import { Interrupted } from './errors.ts'
import { addFlags, resolveOptions } from './flags.ts'
import { listenForInterrupts } from './interrupt.ts'
import { createProgress } from './progress.ts'

export function configure(command: Command): void {
  command.addArgument(new Argument('[experiment]', 'the same as --experiment'))
  addFlags(command, reproduceOptions)
  command.addHelpText('after', '\nExamples:\n  prospect reproduce all --quick\n  prospect reproduce imbalance')
  command.action(async (experiment?: string) => {
    if (experiment !== undefined) command.setOptionValue('experiment', experiment)
    const options = resolveOptions(command, reproduceOptions)
    const progress = createProgress()
    const interrupts = listenForInterrupts(() =>
      progress.log('interrupted: stopping; press Ctrl-C again to exit at once'),
    )
    try {
      const { reproduce } = await import('../reproduce/reproduce.ts') // loads libtorch
      console.log(markdown(await reproduce(options, { progress, signal: interrupts.signal })))
    } catch (error) {
      if (!interrupts.signal.aborted) throw error
      throw new Interrupted('stopped; the same command goes on', interrupts.exitCode())
    } finally {
      interrupts.dispose()
    }
  })
}
