import { existsSync, readFileSync, truncateSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Command } from 'commander'
import colors from 'picocolors'
import { generateOptions, type Reply } from '../infer/options.ts'
import { Interrupted } from './errors.ts'
import { addFlags, resolveOptions } from './flags.ts'
import { listenForInterrupts } from './interrupt.ts'
import { createProgress } from './progress.ts'
import { printable } from './table.ts'

export function configure(command: Command): void {
  addFlags(command, generateOptions)
  command.addHelpText(
    'after',
    '\nExample:\n  prospect generate --model runs/thumbs/model --prompt "Why is the sky blue?" --greedy',
  )
  command.action(async () => {
    const options = resolveOptions(command, generateOptions)
    const { generate } = await import('../infer/generate.ts') // loads libtorch
    const progress = createProgress()
    const interrupts = listenForInterrupts(() =>
      progress.log('interrupted: stopping; press Ctrl-C again to exit at once'),
    )
    const printed = options.output === undefined
    const skip = options.resume ? keptReplies(options.output!) : 0
    try {
      const replies = generate(options, { progress, signal: interrupts.signal, skip, printed })
      await (options.output === undefined ? printReplies(replies) : writeReplies(replies, options.output, skip > 0))
    } catch (error) {
      if (!interrupts.signal.aborted) throw error
      const fix = options.output === undefined ? '' : '; the same command with --resume goes on'
      throw new Interrupted(`stopped${fix}`, interrupts.exitCode())
    } finally {
      interrupts.dispose()
    }
  })
}

/** How many replies a file holds; a line cut off by a kill is taken away. */
export function keptReplies(path: string): number {
  if (!existsSync(path)) return 0
  const text = readFileSync(path, 'utf8')
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  if (whole !== text) truncateSync(path, Buffer.byteLength(whole))
  return whole.split('\n').length - 1
}

export async function printReplies(replies: AsyncIterable<Reply>): Promise<void> {
  for await (const { prompt, completion, finish } of replies) {
    const last = typeof prompt === 'string' ? prompt : (prompt.at(-1)?.content ?? '')
    const cut = finish === 'length' ? colors.dim(' [cut at --max-tokens]') : ''
    console.log(`${colors.bold(printable(last))}\n${printable(completion)}${cut}\n`)
  }
}

/** A row a reply, as it comes: what was answered before an interruption stays. */
export async function writeReplies(replies: AsyncIterable<Reply>, path: string, append = false): Promise<void> {
  const file = await open(path, append ? 'a' : 'w')
  try {
    for await (const reply of replies) await file.write(`${JSON.stringify(reply)}\n`)
  } finally {
    await file.close()
  }
}
