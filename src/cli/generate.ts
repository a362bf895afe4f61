import { open } from 'node:fs/promises'
import type { Command } from 'commander'
import colors from 'picocolors'
import { generateOptions, type Reply } from '../infer/options.ts'
import { addFlags, resolveOptions } from './flags.ts'
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
    const replies = generate(options, { progress: createProgress({ silent: options.output === undefined }) })
    await (options.output === undefined ? printReplies(replies) : writeReplies(replies, options.output))
  })
}

export async function printReplies(replies: AsyncIterable<Reply>): Promise<void> {
  for await (const { prompt, completion, finish } of replies) {
    const last = typeof prompt === 'string' ? prompt : (prompt.at(-1)?.content ?? '')
    const cut = finish === 'length' ? colors.dim(' [cut at --max-tokens]') : ''
    console.log(`${colors.bold(printable(last))}\n${printable(completion)}${cut}\n`)
  }
}

/** A row a reply, as it comes: what was answered before an interruption stays. */
export async function writeReplies(replies: AsyncIterable<Reply>, path: string): Promise<void> {
  const file = await open(path, 'w')
  try {
    for await (const reply of replies) await file.write(`${JSON.stringify(reply)}\n`)
  } finally {
    await file.close()
  }
}
