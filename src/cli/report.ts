import type { Command } from 'commander'

export function configure(command: Command): void {
  command.argument('<run>', 'run directory: of a finished, a broken or a running training')
  command.addHelpText('after', '\nExample:\n  prospect report runs/thumbs')
  command.action(async (run: string) => {
    const { writeReport } = await import('../evaluate/report/report.ts') // loads libtorch
    console.log(await writeReport(run))
  })
}
