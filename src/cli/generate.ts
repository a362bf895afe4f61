import { closeSync, existsSync, openSync, realpathSync, writeSync } from 'node:fs'
import type { Command } from 'commander'
import colors from 'picocolors'
import { generateOptions, type Reply, type ResolvedGenerateOptions } from '../infer/options.ts'
import { attempt, wholeLines } from '../options/files.ts'
import { OptionError } from '../options/validate.ts'
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
    refusePromptsAsOutput(options)
    const { generate } = await import('../infer/generate.ts') // loads libtorch
    const progress = createProgress()
    const interrupts = listenForInterrupts(() =>
      progress.log('interrupted: stopping; press Ctrl-C again to exit at once'),
    )
    const printed = options.output === undefined
    const kept = options.resume ? keptReplies(options.output!) : []
    try {
      const replies = generate(options, { progress, signal: interrupts.signal, kept, printed })
      await (options.output === undefined
        ? printReplies(replies)
        : writeReplies(replies, options.output, options.resume))
    } catch (error) {
      if (!interrupts.signal.aborted) throw error
      const fix = options.output === undefined ? '' : '; the same command with --resume goes on'
      throw new Interrupted(`stopped${fix}`, interrupts.exitCode())
    } finally {
      interrupts.dispose()
    }
  })
}

/** Replies would take the place of the prompts, and of all that stands beside them. */
function refusePromptsAsOutput({ prompts, output }: ResolvedGenerateOptions): void {
  if (prompts === undefined || output === undefined || !existsSync(prompts) || !existsSync(output)) return
  if (realpathSync(prompts) === realpathSync(output))
    throw new OptionError(`--output ${output}: the file of --prompts, which replies would replace; name another`)
}

/** The replies that a file holds. */
export function keptReplies(path: string): Reply[] {
  return wholeLines('--output', path).map((line, i) => {
    try {
      return JSON.parse(line) as Reply
    } catch (error) {
      throw new OptionError(
        `--resume: ${path}:${i + 1} is no reply (${(error as Error).message}); name another --output`,
      )
    }
  })
}

export async function printReplies(replies: AsyncIterable<Reply>): Promise<void> {
  for await (const { prompt, completion, finish } of replies) {
    const last = typeof prompt === 'string' ? prompt : (prompt.at(-1)?.content ?? '')
    const cut = finish === 'length' ? colors.dim(' [cut at --max-tokens]') : ''
    console.log(`${colors.bold(printable(last))}\n${printable(completion)}${cut}\n`)
  }
}

/** A row a reply, as it comes: what was answered before an interruption stays. A file that is there is replaced when the first reply has come. */
export async function writeReplies(replies: AsyncIterable<Reply>, path: string, append = false): Promise<void> {
  attempt('--output', path, () => closeSync(openSync(path, 'a')))
  let file: number | null = null
  try {
    for await (const reply of replies) {
      file ??= openSync(path, append ? 'a' : 'w')
      writeSync(file, `${JSON.stringify(reply)}\n`)
    }
  } finally {
    if (file !== null) closeSync(file)
  }
}
