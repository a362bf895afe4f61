import type { Command } from 'commander'
import colors from 'picocolors'
import type { Gpus } from '../tensor/device.ts'
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
    ...gpuRows(gpus),
  ]
  return [alignedTable(rows), ...warnings.map((warning) => `${colors.yellow('warning:')} ${warning}`)].join('\n')
}

/** A row for each GPU, the driver, and whether `--device cuda` would work. */
function gpuRows({ all, driver, cuda, problem }: Gpus): string[][] {
  if (all.length === 0) return [['gpu', `none: ${problem}`]]
  const rows = all.map(({ name, memory, capability, bfloat16 }, i) => [
    i === 0 ? 'gpu' : '',
    `cuda:${i}: ${name}, ${(memory / 2 ** 30).toFixed(1)} GiB, compute capability ${capability}, ${bfloat16 ? 'bfloat16' : 'no bfloat16'}`,
  ])
  const runs = cuda > 0 ? `, runs CUDA up to ${Math.floor(cuda / 1000)}.${Math.floor((cuda % 1000) / 10)}` : ''
  return [
    ...rows,
    ['', `driver ${driver || 'of unknown version'}${runs}`],
    ['', problem === '' ? '--device auto takes cuda:0' : `training runs on the processor: ${problem}`],
  ]
}
