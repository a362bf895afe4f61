import { Argument, type Command } from 'commander'
import { plotOptions } from '../plot/options.ts'
import { addFlags, resolveOptions } from './flags.ts'

export function configure(command: Command): void {
  command.addArgument(new Argument('<what>', 'value functions, or the metrics of runs').choices(['value', 'run']))
  command.addArgument(new Argument('[directories...]', 'run directories'))
  addFlags(command, plotOptions)
  command.addHelpText(
    'after',
    '\nExamples:\n  prospect plot value --loss kto --value-function log-sigmoid\n  prospect plot run runs/kto runs/dpo --output compared.svg',
  )
  command.action(async (what: 'value' | 'run', directories: string[]) => {
    const options = resolveOptions(command, plotOptions)
    const { plot } = await import('../plot/plot.ts') // loads the plotting library
    for (const file of await plot(what, directories, options)) console.log(file)
  })
}
