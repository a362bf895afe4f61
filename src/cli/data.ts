import { writeFileSync } from 'node:fs'
import { type Command, Option as Flag } from 'commander'
import colors from 'picocolors'
import { convertOptions, inspectOptions } from '../data/options.ts'
import { OptionError } from '../options/validate.ts'
import { trainOptions } from '../train/options.ts'
import { addFlags, resolveOptions } from './flags.ts'
import { createProgress } from './progress.ts'
import { formatNumber } from './table.ts'

export function configure(command: Command): void {
  const subcommand = (name: string, does: string) =>
    command
      .command(name)
      .summary(does)
      .description(`${does[0]!.toUpperCase()}${does.slice(1)}.`)
  configureInspect(subcommand('inspect', 'say what is in feedback, what would be used and what is doubtful'))
  configurePreview(subcommand('preview', 'show rows token by token, as training would see them'))
  configureConvert(subcommand('convert', 'write the rows that training would use as plain JSONL or Parquet'))
}

function configureInspect(command: Command): void {
  addFlags(command, inspectOptions)
  command.addHelpText(
    'after',
    '\nExample:\n  prospect data inspect --data feedback.jsonl --model ./SmolLM2-135M-Instruct --html report.html',
  )
  command.action(async () => {
    const options = await onThisMachine(resolveOptions(command, inspectOptions))
    const { inspectFeedback } = await import('../data/inspect.ts')
    const tokenizer =
      options.model === undefined ? null : (await import('../data/tokenizer.ts')).loadTokenizer(options.model)
    const bar = megabytes('reading (MB)')
    const inspection = await inspectFeedback(options, tokenizer, bar).finally(() => bar.stop())
    const { inspectionText } = await import('./data-inspection.ts')
    console.log(inspectionText(inspection))
    if (options.html !== undefined) {
      const { inspectionPage } = await import('./data-page.ts')
      writeFileSync(options.html, inspectionPage(inspection))
      console.log(`\npage: ${options.html}`)
    }
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(inspection, null, 2)}\n`)
  })
}

function configurePreview(command: Command): void {
  addFlags(command, trainOptions)
  command.addOption(new Flag('--rows <count>', 'Rows to show, of the first training step').default('3'))
  command.addOption(new Flag('--html <file>', 'Write the rows as a page'))
  command.addHelpText(
    'after',
    '\nTakes the flags of prospect train, so that what is shown is what those flags train on.\n\nExample:\n  prospect data preview --data feedback.jsonl --model ./SmolLM2-135M-Instruct --rows 2',
  )
  command.action(async () => {
    const options = resolveOptions(command, trainOptions)
    const { rows, html } = command.opts<{ rows: string; html?: string }>()
    const count = Number(rows)
    if (!Number.isInteger(count) || count < 1)
      throw new OptionError(`--rows: expected a whole number from 1, got ${JSON.stringify(rows)}`)
    const { previewRows } = await import('../train/preview.ts')
    const previews = await previewRows(options, count, createProgress())
    const { previewText, previewPage } = await import('./data-preview.ts')
    console.log(previewText(previews))
    if (html === undefined) return
    writeFileSync(html, previewPage(previews))
    console.log(`page: ${html}`)
  })
}

function configureConvert(command: Command): void {
  addFlags(command, convertOptions)
  command.addHelpText(
    'after',
    '\nExample:\n  prospect data convert --data export.csv --map prompt=question,completion=answer,label=thumb --output feedback.jsonl',
  )
  command.action(async () => {
    const options = await onThisMachine(resolveOptions(command, convertOptions))
    const { convertFeedback } = await import('../data/convert.ts')
    const { rows, files, findings } = await convertFeedback(options)
    const { findingLines, leftOutLines } = await import('./data-inspection.ts')
    console.log(`${formatNumber(rows)} rows: ${options.output}`)
    const notes = [...leftOutLines(files), ...findingLines(findings, true)]
    if (notes.length > 0) console.log(notes.map((line) => colors.dim(`  ${line}`)).join('\n'))
  })
}

/** With files and folders in place of names on the hub. */
async function onThisMachine<T extends { data: string[]; model?: string | undefined }>(options: T): Promise<T> {
  const { localData, localModel } = await import('../hub/inputs.ts')
  const hooks = { progress: createProgress() }
  const model = options.model === undefined ? {} : { model: await localModel(options.model, hooks) }
  return { ...options, data: await localData(options.data, hooks), ...model }
}

function megabytes(label: string) {
  const progress = createProgress()
  let bar: ReturnType<typeof progress.start> | undefined
  return {
    start: (bytes: number) => {
      bar = progress.start(Math.ceil(bytes / 1e6), label)
    },
    update: (bytes: number) => bar?.update(Math.floor(bytes / 1e6)),
    stop: () => bar?.stop(),
  }
}
