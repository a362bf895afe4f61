import { Argument, type Command } from 'commander'
import { convertOptions, inspectOptions } from '../data/options.ts'
import { judgementsOptions, rewardsOptions, winRateOptions } from '../evaluate/options.ts'
import { exportOptions } from '../export/options.ts'
import { generateOptions } from '../infer/options.ts'
import { plotOptions } from '../plot/options.ts'
import { reproduceOptions } from '../reproduce/options.ts'
import { trainOptions } from '../train/options.ts'
import { jsonSchemaOf } from './reference.ts'

export const tables = {
  train: trainOptions,
  'data inspect': inspectOptions,
  'data convert': convertOptions,
  generate: generateOptions,
  plot: plotOptions,
  export: exportOptions,
  'evaluate winrate': winRateOptions,
  'evaluate judgements': judgementsOptions,
  'evaluate rewards': rewardsOptions,
  reproduce: reproduceOptions,
}

export function configure(command: Command): void {
  command.addArgument(new Argument('[command]', 'whose --config file').choices(Object.keys(tables)).default('train'))
  command.addHelpText(
    'after',
    '\nExample, for editors with the YAML language server:\n  prospect schema train > train.schema.json\n  # yaml-language-server: $schema=train.schema.json   (first line of run.yaml)',
  )
  command.action((name: keyof typeof tables) => {
    console.log(JSON.stringify(jsonSchemaOf(tables[name], `prospect ${name}`), null, 2))
  })
}
