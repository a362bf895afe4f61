import type { Command } from 'commander'
import colors from 'picocolors'
import type { EngineReport } from '../tensor/engine.ts'
import { alignedTable } from './table.ts'

export function configure(command: Command): void {
  command.action(async () => {
    const { inspectEngine } = await import('../tensor/engine.ts')
    console.log(reportText(inspectEngine()))
  })
}

export function reportText({ libtorch, processor, blas, gpus, warnings }: EngineReport): string {
  const rows = [
    ['node', process.versions.node],
    ['libtorch', `${libtorch.version} (${libtorch.source}${libtorch.cuda ? ', with CUDA' : ''})`],
    ['', libtorch.library],
    ['processor', processor.name],
    [
      '',
      `${processor.threads} threads, ${processor.capability}, ${processor.bfloat16 ? 'native bfloat16' : 'no native bfloat16'}`,
    ],
    ['blas', [blas.kernel, blas.library].filter(Boolean).join(', ') || 'unknown'],
    ['gpu', gpus.length > 0 ? `${gpus.join(', ')} (training runs on the processor)` : 'none'],
  ]
  return [alignedTable(rows), ...warnings.map((warning) => `${colors.yellow('warning:')} ${warning}`)].join('\n')
}
