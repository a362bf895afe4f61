import colors from 'picocolors'
import type { Finding } from '../data/choose.ts'
import type { Inspection, Lengths } from '../data/inspect.ts'
import type { FileFacts } from '../data/read.ts'
import { alignedTable, formatNumber } from './table.ts'

/** What `prospect data inspect` prints. */
export function inspectionText(inspection: Inspection): string {
  const { used, read, files, unit } = inspection
  const sections = [
    filesTable(files),
    [...leftOutLines(files), ...skippedLines(files)].join('\n'),
    countsTable(inspection),
    findingLines(inspection.findings, false).join('\n'),
    `${colors.bold(`prompt, ${unit}`)}\n${histogram(inspection.promptLengths)}`,
    `${colors.bold(`completion, ${unit}`)}\n${histogram(inspection.completionLengths)}`,
    truncationText(inspection),
    annotatorLines(inspection),
    inspection.time ? `judged from ${inspection.time.from} to ${inspection.time.to}` : '',
    inspection.advice.map((line) => `${colors.yellow('->')} ${line}`).join('\n'),
  ]
  if (read.rows !== used.rows) sections.push(colors.dim(`${formatNumber(read.rows - used.rows)} rows are not used`))
  return sections.filter((text) => text !== '').join('\n\n')
}

function filesTable(files: readonly FileFacts[]): string {
  const head = ['file', 'records', 'shape', 'rows', 'up', 'down', 'pairs'].map((title) => colors.bold(title))
  const rows = files.map((facts) => [
    facts.file,
    formatNumber(facts.records),
    Object.keys(facts.shapes).join(', '),
    ...[facts.rows, facts.desirable, facts.undesirable, facts.pairs].map(formatNumber),
  ])
  return alignedTable([head, ...rows], ['left', 'right', 'left', 'right', 'right', 'right', 'right'])
}

function records(count: number): string {
  return `${formatNumber(count)} ${count === 1 ? 'record' : 'records'}`
}

/** Records that were passed over, that gave no rows, or fewer than they could, and why. */
export function leftOutLines(files: readonly FileFacts[]): string[] {
  const sums = (of: (facts: FileFacts) => Record<string, number>) => {
    const all = new Map<string, number>()
    for (const facts of files)
      for (const [reason, count] of Object.entries(of(facts))) all.set(reason, (all.get(reason) ?? 0) + count)
    return [...all]
  }
  return [
    ...sums(({ passedOver }) => passedOver).map(([option, count]) => `${records(count)} passed over by ${option}`),
    ...sums(({ leftOut }) => leftOut).map(([reason, count]) => `${records(count)} left out: ${reason}`),
    ...sums(({ partlyLeftOut }) => partlyLeftOut).map(([reason, count]) => `${records(count)} used in part: ${reason}`),
  ]
}

function skippedLines(files: readonly FileFacts[]): string[] {
  return files.flatMap(({ skipped, skippedBecause, file }) =>
    skipped === 0
      ? []
      : [colors.red(`${records(skipped)} of ${file} cannot be used:`), ...skippedBecause.map((line) => `  ${line}`)],
  )
}

function countsTable({ read, used }: Inspection): string {
  const share = (counts: typeof read) =>
    counts.rows === 0 ? '-' : `${Math.round((100 * counts.desirable) / counts.rows)} %`
  const row = (title: string, of: (counts: typeof read) => string) => [title, of(read), of(used)]
  const rows = [
    ['', colors.bold('read'), colors.bold('used')],
    row('rows', ({ rows }) => formatNumber(rows)),
    row('thumbs up', ({ desirable }) => formatNumber(desirable)),
    row('thumbs down', ({ undesirable }) => formatNumber(undesirable)),
    row('share up', share),
    row('prompts', ({ prompts }) => formatNumber(prompts)),
  ]
  return alignedTable(rows, ['left', 'right', 'right'])
}

/** What is found in rows, in words. */
export const findingNames: Record<string, string> = {
  duplicates: 'exact duplicates',
  nearDuplicates: 'near duplicates',
  contradictions: 'with both labels',
  empty: 'empty completions',
  boilerplate: 'boilerplate',
  email: 'e-mail addresses',
  phone: 'phone numbers',
  key: 'keys',
  tooLong: 'too long',
  keepDesirable: 'by --keep-desirable',
  keepUndesirable: 'by --keep-undesirable',
  onePerPrompt: 'by --one-per-prompt',
  balance: 'by --balance',
}

/** What was found in the rows, a line a kind; with `only`, just what was dropped. */
export function findingLines(findings: Record<string, Finding>, only: boolean): string[] {
  const shown = Object.entries(findings).filter(([, { found, dropped }]) => (only ? dropped > 0 : found + dropped > 0))
  const rows = shown.map(([name, { found, dropped, examples }]) => [
    findingNames[name] ?? name,
    formatNumber(Math.max(found, dropped)),
    dropped > 0 ? `${formatNumber(dropped)} dropped` : '',
    colors.dim(examples.slice(0, 2).join(', ')),
  ])
  if (rows.length === 0) return only ? [] : ['no duplicates, contradictions, boilerplate or personal data found']
  return alignedTable(rows, ['left', 'right', 'left', 'left']).split('\n')
}

function histogram({ median, mean, p95, max, bins }: Lengths): string {
  const width = 40
  const most = Math.max(1, ...bins.map(({ desirable, undesirable }) => desirable + undesirable))
  const last = bins.findLastIndex(({ desirable, undesirable }) => desirable + undesirable > 0)
  const first = bins.findIndex(({ desirable, undesirable }) => desirable + undesirable > 0)
  const rows = bins.slice(Math.max(0, first), last + 1).map(({ from, to, desirable, undesirable }) => {
    const length = (count: number) => Math.round((count / most) * width)
    const bar = colors.green('█'.repeat(length(desirable))) + colors.red('▒'.repeat(length(undesirable)))
    return [`${formatNumber(from)}-${formatNumber(to)}`, formatNumber(desirable + undesirable), bar]
  })
  const summary = `median ${formatNumber(median)}, mean ${formatNumber(Math.round(mean))}, 95 % up to ${formatNumber(p95)}, longest ${formatNumber(max)}; ${colors.green('█')} up ${colors.red('▒')} down`
  return `${alignedTable(rows, ['right', 'right', 'left'])}\n${summary}`
}

function truncationText({ truncation, used }: Inspection): string {
  if (!truncation) return 'give --model to count tokens, and to see what --max-length would cut off'
  const { maxLength, prompts, completions, examples } = truncation
  if (prompts + completions === 0) return `nothing is cut at --max-length ${maxLength}`
  const share = (count: number) =>
    `${formatNumber(count)} (${((100 * count) / Math.max(1, used.rows)).toPrecision(2)} %)`
  return `at --max-length ${maxLength}: ${share(prompts)} prompts and ${share(completions)} completions are cut: ${colors.dim(examples.slice(0, 3).join(', '))}`
}

function annotatorLines({ annotators }: Inspection): string {
  if (annotators.length === 0) return ''
  const rows = annotators
    .slice(0, 10)
    .map(({ name, rows, desirable }) => [name, formatNumber(rows), `${Math.round((100 * desirable) / rows)} % up`])
  const more = annotators.length > 10 ? `\n... and ${annotators.length - 10} more` : ''
  return `${colors.bold('annotators')}\n${alignedTable(rows, ['left', 'right', 'right'])}${more}`
}
