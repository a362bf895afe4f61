import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'

export function configure(command: Command): void {
  command.action(() => {
    const script = fileURLToPath(new URL('../../scripts/setup.mjs', import.meta.url))
    const { status, error } = spawnSync(process.execPath, [script], { stdio: 'inherit' })
    if (error) throw error
    if (status !== 0) throw new Error('the set-up did not complete: what it printed above says why')
  })
}
