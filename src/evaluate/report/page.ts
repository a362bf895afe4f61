import { withResolvedWeights } from '../../loss/weights.ts'
import type { ResolvedTrainOptions } from '../../train/options.ts'
import type { DataFacts } from '../../train/prepare.ts'
import type { Evaluation, StepMetrics } from '../../train/run.ts'
import type { WinRateReport } from '../winrate.ts'
import { chart, escapeHtml, type Series } from './chart.ts'
import { style } from './style.ts'
import { valueCurve } from './value-curve.ts'
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

const [up, down, plain] = ['#1a7f5a', '#c0392b', '#3056a0']

/** The whole report: one HTML file without scripts, and nothing that is loaded from elsewhere. */
export function page(run: RunFiles): string {
  const body = [
    verdict(run),
    heldOut(run),
    curves(run),
    value(run),
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
    row('rewards on their side of z0', ({ rewards }) => rewards?.accuracy),
    row('area under the ROC curve', ({ areaUnderCurve }) => areaUnderCurve),
  ].filter(([, first, second]) => first !== '-' || second !== '-')
  return section(
    'Held-out rows',
    table(rows, [`${number(last.rows)} rows`, 'before', `after ${number(last.step)} steps`]),
  )
}

function curves({ metrics, evaluations }: RunFiles): string {
  const line = (name: string, color: string, of: (step: StepMetrics) => number | null | undefined): Series => ({
    name,
    color,
    points: metrics.map((step) => ({ x: step.step, y: of(step) ?? null })),
  })
  const measured = (name: string, color: string, of: (evaluation: Evaluation) => number | null): Series => ({
    name,
    color,
    dots: true,
    points: evaluations.map((evaluation) => ({ x: evaluation.step, y: of(evaluation) })),
  })
  const xLabel = 'step'
  return section(
    'Curves',
    [
      chart({
        title: 'Loss',
        xLabel,
        series: [line('training', plain, ({ loss }) => loss), measured('held out', '#e08e0b', ({ loss }) => loss)],
      }),
      chart({
        title: 'Implicit reward',
        xLabel,
        series: [
          line('thumbs up', up, ({ rewards }) => rewards?.chosen),
          line('thumbs down', down, ({ rewards }) => rewards?.rejected),
        ],
      }),
      chart({
        title: 'Log-probability of completions',
        xLabel,
        series: [
          line('thumbs up', up, ({ logps }) => logps.chosen),
          line('thumbs down', down, ({ logps }) => logps.rejected),
        ],
      }),
      chart({ title: 'Reference point z0, in nats', xLabel, series: [line('z0', plain, ({ kl }) => kl?.value)] }),
      chart({
        title: 'Gradient norm before clipping',
        xLabel,
        series: [line('norm', plain, ({ gradNorm }) => gradNorm)],
      }),
    ].join(''),
  )
}

/** Held-out rows laid on what the objective says that rewards are worth. */
function value(run: RunFiles): string {
  const { last } = ends(run)
  const spread = last?.rewardDeciles
  const beta = 'beta' in run.options.loss && run.options.loss.beta ? run.options.loss.beta : 1
  const ofReward = (reward: number) => (reward - (spread?.threshold ?? 0)) / beta
  const places = [...(spread?.desirable ?? []), ...(spread?.undesirable ?? [])].map((reward) =>
    Math.abs(ofReward(reward)),
  )
  const furthest = Math.max(8 / beta, ...places)
  const curve = valueCurve(withResolvedWeights(run.options.loss, run.facts?.train ?? null), furthest)
  if (!curve) return ''
  const line = (name: string, color: string, values: number[]): Series => ({
    name,
    color,
    points: curve.z.map((x, i) => ({ x, y: values[i]! })),
  })
  const at = (values: number[], z: number) => values[Math.round(((z / furthest + 1) / 2) * (curve.z.length - 1))]!
  const dots = (name: string, color: string, values: number[], rewards: number[]): Series => ({
    name,
    color,
    dots: true,
    points: rewards.map((reward) => ({ x: ofReward(reward), y: at(values, ofReward(reward)) })),
  })
  const series = [
    line('worth of a thumbs-up row', up, curve.desirable),
    line('worth of a thumbs-down row', down, curve.undesirable),
  ]
  if (spread)
    series.push(
      dots('deciles of held-out thumbs up', '#0b4f36', curve.desirable, spread.desirable),
      dots('of thumbs down', '#7d1f14', curve.undesirable, spread.undesirable),
    )
  const title = 'What a row is worth to the objective, by log-ratio against z0'
  return section(
    'Value function',
    chart({ title, xLabel: 'log pi(y|x) - log pi_ref(y|x) - z0, in nats', series, marks: [{ x: 0, label: 'z0' }] }),
  )
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
