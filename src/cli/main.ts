import { Command, CommanderError } from 'commander'
import { version } from '../options/version.ts'
import { reportError } from './errors.ts'

interface CommandModule {
  configure(command: Command): void
}

/** A command's file is loaded where it is named, and loads libtorch where it is run: help answers at once. */
const commands: Record<string, { summary: string; load: () => Promise<CommandModule> }> = {
  train: { summary: 'align a model with feedback', load: () => import('./train.ts') },
  data: { summary: 'see, check and convert feedback', load: () => import('./data.ts') },
  generate: { summary: 'answer prompts with a model', load: () => import('./generate.ts') },
  export: {
    summary: 'merge an adapter, write a GGUF file for llama.cpp, or upload to the hub',
    load: () => import('./export.ts'),
  },
  plot: { summary: 'draw value functions, or the metrics of runs', load: () => import('./plot.ts') },
  evaluate: { summary: 'say whether a model does better, and how sure that is', load: () => import('./evaluate.ts') },
  report: { summary: 'write the report of a run', load: () => import('./report.ts') },
  reproduce: { summary: "repeat the paper's experiments at a small size", load: () => import('./reproduce.ts') },
  demo: {
    summary: 'train a tiny model from nothing and show its replies before and after',
    load: () => import('./demo.ts'),
  },
  doctor: {
    summary: 'say what was found on this machine and what is wrong with it',
    load: () => import('./doctor.ts'),
  },
  setup: { summary: 'install and build what is missing', load: () => import('./setup.ts') },
  schema: { summary: 'print the JSON Schema of a --config file', load: () => import('./schema.ts') },
}

/** Runs the command line, without the program's name; gives the exit code. */
export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<number> {
  try {
    const program = await programFor(argv)
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode // its message or help is printed
    return reportError(error)
  }
}

async function programFor(argv: readonly string[]): Promise<Command> {
  const program = new Command('prospect')
    .description('Align open-weights language models with thumbs-up / thumbs-down feedback.')
    .version(version(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .showHelpAfterError('(--help shows all options)')
    .exitOverride()
  for (const [name, { summary, load }] of Object.entries(commands)) {
    const command = program
      .command(name)
      .summary(summary)
      .description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`)
    if (argv.slice(0, 2).includes(name)) (await load()).configure(command)
  }
  return program
}
