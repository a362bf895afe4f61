import type { ResolvedTrainOptions } from '../../train/options.ts'
import type { DataFacts } from '../../train/prepare.ts'
import type { Evaluation, StepMetrics } from '../../train/run.ts'
import type { WinRateReport } from '../winrate.ts'
import { escapeHtml, figure } from './html.ts'
import { style } from './style.ts'
import { finding } from './verdict.ts'

/** What the report shows of a run directory. */
export interface RunFiles {
  name: string
  path: string
  options: ResolvedTrainOptions
  /** config.yaml */
  config: string
  facts: DataFacts | null
  metrics: readonly StepMetrics[]
  evaluations: readonly (Evaluation & { step: number })[]
  samples: readonly { step: number; prompt: string; completion: string }[]
  judged: WinRateReport | null
  /** Folder of the result; null while there is none. */
  model: string | null
}

/** What is drawn of it. */
export interface Pictures {
  curves: readonly { title: string; svg: string }[]
  value: { title: string; svg: string } | null
}

/** The whole report: one HTML file without scripts, and nothing that is loaded from elsewhere. */
export function page(run: RunFiles, pictures: Pictures): string {
  const body = [
    verdict(run),
    heldOut(run),
    curves(pictures),
    value(pictures),
    samples(run),
    data(run),
    alarms(run),
    after(run),
    configuration(run),
  ]
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(run.name)}: report</title><link rel="icon" href="data:,"><style>${style}</style></head>
<body><main><h1>${escapeHtml(run.name)}</h1>${body.filter(Boolean).join('\n')}</main></body></html>
`
}

function section(title: string, content: string): string {
  return content === '' ? '' : `<section><h2>${escapeHtml(title)}</h2>${content}</section>`
}

function table(rows: readonly (readonly string[])[], head?: readonly string[]): string {
  const cells = (row: readonly string[], tag: string) =>
    row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')
  const header = head ? `<thead><tr>${cells(head, 'th')}</tr></thead>` : ''
  return `<div class="scroll"><table>${header}<tbody>${rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('')}</tbody></table></div>`
}

function number(value: number | null | undefined): string {
  if (value === null || value === undefined) return '-'
  return Number.isInteger(value) ? value.toLocaleString('en-US') : String(Number(value.toPrecision(4)))
}

function ends({ evaluations }: RunFiles): { before: Evaluation | null; last: (Evaluation & { step: number }) | null } {
  const before = evaluations.find(({ step }) => step === 0) ?? null
  const last = evaluations.at(-1) ?? null
  return { before, last: last && last.step > 0 ? last : null }
}

function verdict(run: RunFiles): string {
  const { before, last } = ends(run)
  const { verdict: word, because } = finding(before, last, run.facts, run.judged)
  const words = { better: 'Better', worse: 'Worse', 'no evidence': 'No evidence of a difference' }[word]
  const state = run.model ? '' : ' The run has not ended: this is what is known so far.'
  return `<section class="verdict ${word.replace(' ', '-')}"><strong>${words}</strong><p>${escapeHtml(because + state)}</p></section>`
}

function heldOut(run: RunFiles): string {
  const { before, last } = ends(run)
  if (!before || !last) return ''
  const row = (name: string, of: (evaluation: Evaluation) => number | null | undefined) => [
    name,
    number(of(before)),
    number(of(last)),
  ]
  const rows = [
    row('loss', ({ loss }) => loss),
    row('mean reward, thumbs up', ({ rewards }) => rewards?.chosen),
    row('mean reward, thumbs down', ({ rewards }) => rewards?.rejected),
    row('margin', ({ rewards }) => rewards?.margin),
    row('rewards on their side of z0', ({ rewards }) => (begun(rewards) ? rewards?.accuracy : null)),
    row('area under the ROC curve', ({ areaUnderCurve }) => areaUnderCurve),
  ].filter(([, first, second]) => first !== '-' || second !== '-')
  const all = run.facts?.heldOut.of ?? last.rows
  const of = all > last.rows ? ` of ${number(all)}` : ''
  return section(
    'Held-out rows',
    table(rows, [`${number(last.rows)}${of} rows`, 'before', `after ${number(last.step)} steps`]),
  )
}

const curvesNote =
  '<p class="note">Thin lines: single steps; thick ones: means of the steps around; dots: held-out rows.</p>'

/** Before the first step all rewards are 0, on no side. */
function begun(rewards: Evaluation['rewards']): boolean {
  return rewards?.chosen !== 0 || rewards.rejected !== 0
}

function curves({ curves: drawn }: Pictures): string {
  const figures = drawn.map((picture, i) => figure(picture, `curve${i}`))
  return section('Curves', figures.length === 0 ? '' : `${curvesNote}<div class="curves">${figures.join('')}</div>`)
}

function value({ value: drawn }: Pictures): string {
  return section('Value function', drawn ? `<div class="value">${figure(drawn, 'value')}</div>` : '')
}

function samples({ samples: all }: RunFiles): string {
  const last = all.at(-1)?.step
  if (last === undefined) return ''
  const prompts = [...new Set(all.map(({ prompt }) => prompt))]
  const reply = (prompt: string, step: number) =>
    all.find((sample) => sample.prompt === prompt && sample.step === step)?.completion ?? '-'
  const cards = prompts.map(
    (prompt) =>
      `<article><p class="prompt">${escapeHtml(prompt)}</p><div class="pair"><div><h3>before</h3><p>${escapeHtml(reply(prompt, 0))}</p></div>` +
      `<div><h3>after ${number(last)} steps</h3><p>${escapeHtml(reply(prompt, last))}</p></div></div></article>`,
  )
  return section('Replies to the same prompts', cards.join(''))
}

function data({ facts }: RunFiles): string {
  if (!facts) return ''
  const rows = (name: string, of: (set: DataFacts['train']) => number) => [
    name,
    number(of(facts.train)),
    number(of(facts.heldOut)),
  ]
  return section(
    'Data',
    table(
      [
        rows('rows', (set) => set.rows),
        rows('thumbs up', (set) => set.desirable),
        rows('thumbs down', (set) => set.undesirable),
        rows('prompts', (set) => set.prompts),
        rows('prompt tokens', (set) => set.promptTokens),
        rows('completion tokens', (set) => set.completionTokens),
      ],
      ['', 'training', 'held out'],
    ),
  )
}

function alarms({ metrics }: RunFiles): string {
  const seen = new Map<string, number[]>()
  for (const { step, alarms: on } of metrics)
    for (const name of on ?? []) seen.set(name, [...(seen.get(name) ?? []), step])
  if (metrics.length === 0) return ''
  if (seen.size === 0) return section('Alarms', '<p>None.</p>')
  return section(
    'Alarms',
    table(
      [...seen].map(([name, steps]) => [name, `steps ${steps[0]} to ${steps.at(-1)}, ${steps.length} in all`]),
      ['alarm', 'when it was on'],
    ),
  )
}

function after({ path, model }: RunFiles): string {
  const commands = model
    ? [
        `prospect generate --model ${model} --prompt "..."`,
        `prospect evaluate winrate --candidate ${model} --baseline <old model> --prompts test.jsonl --judge <url> --output ${path}/evaluations/winrate`,
      ]
    : [`prospect train --resume ${path}`]
  return section('Go on', `<pre>${escapeHtml(commands.join('\n'))}</pre>`)
}

function configuration({ config }: RunFiles): string {
  return `<section><details><summary>Configuration</summary><pre>${escapeHtml(config)}</pre></details></section>`
}
