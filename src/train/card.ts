import { basename } from 'node:path'
import { hubNameOfFolder, hubTextOf } from '../hub/names.ts'
import { configYaml } from '../options/config.ts'
import type { ResolvedTrainOptions } from './options.ts'
import type { DataFacts } from './prepare.ts'
import type { Evaluation } from './run.ts'

/** A reply to a fixed prompt, as samples.jsonl has it. */
export interface SampleRow {
  step: number
  prompt: string
  completion: string
}

/** What the model is of which a card tells. */
export interface Outcome {
  /** Steps that were done. */
  steps: number
  evaluation: { before: Evaluation; after: Evaluation } | null
  samples?: readonly SampleRow[]
  library?: 'transformers' | 'peft'
}

/** The README.md of a trained model: what it was made from, how, and what came out. The licence is left to who publishes it. */
export function modelCard(
  options: ResolvedTrainOptions,
  { train, heldOut, steps: planned }: DataFacts,
  { steps, evaluation, samples = [], library = 'transformers' }: Outcome,
): string {
  const onHub = hubNameOfFolder(options.model)
  const name = onHub?.repository ?? options.model
  const data = `${train.rows} rows on ${train.prompts} prompts (${train.desirable} thumbs-up, ${train.undesirable} thumbs-down)`
  return [
    '---',
    ...(onHub ? [`base_model: ${JSON.stringify(onHub.repository)}`] : []), // the hub takes names of its own only
    `library_name: ${library}`,
    'pipeline_tag: text-generation',
    `tags: [prospect, ${options.loss.type}]`,
    '---',
    '',
    `# ${basename(name)}, trained with ${options.loss.type.toUpperCase()}`,
    '',
    `Made by Prospect from \`${hubTextOf(options.model)}\` with ${data}, in ${steps === planned ? steps : `${steps} of ${planned} planned`} steps; ${heldOut.rows} rows were held out.`,
    ...(evaluation ? ['', ...evaluationTable(evaluation)] : []),
    ...samplesSection(samples),
    '',
    '## Configuration',
    '',
    '```yaml',
    configYaml(withHubNames(options)).trimEnd(),
    '```',
    '',
    '## Licence',
    '',
    'None is stated here. That of the model that this one was made from applies; add `license:` above.',
    '',
  ].join('\n')
}

/** With the hub's names in place of this machine's folders. */
function withHubNames(options: ResolvedTrainOptions): ResolvedTrainOptions {
  const { reference, cache: _, ...rest } = options
  return {
    ...rest,
    model: hubTextOf(options.model),
    data: options.data.map(hubTextOf),
    ...(reference !== undefined && { reference: hubTextOf(reference) }),
  }
}

function evaluationTable({ before, after }: { before: Evaluation; after: Evaluation }): string[] {
  const row = (name: string, of: (evaluation: Evaluation) => number | null | undefined) => {
    const cells = [before, after].map((evaluation) => of(evaluation)?.toPrecision(4) ?? '-')
    return `| ${name} | ${cells.join(' | ')} |`
  }
  return [
    `| ${after.rows} held-out rows | before | after |`,
    '|---|---|---|',
    row('loss', ({ loss }) => loss),
    row('reward margin', ({ rewards }) => rewards?.margin),
    row('reward accuracy', ({ rewards }) => rewards?.accuracy),
    row('area under curve', ({ areaUnderCurve }) => areaUnderCurve),
  ]
}

/** The same prompts' replies before and after training, as quotes. */
function samplesSection(samples: readonly SampleRow[]): string[] {
  const last = Math.max(0, ...samples.map(({ step }) => step))
  if (last === 0) return []
  const at = (step: number) => samples.filter((sample) => sample.step === step)
  const after = new Map(at(last).map(({ prompt, completion }) => [prompt, completion]))
  const pairs = at(0).filter(({ prompt }) => after.has(prompt))
  if (pairs.length === 0) return []
  const sections = pairs.flatMap(({ prompt, completion }) => [
    '',
    '**Prompt**',
    ...quoted(prompt),
    '',
    'Before:',
    ...quoted(completion),
    '',
    'After:',
    ...quoted(after.get(prompt)!),
  ])
  return ['', '## Replies before and after', ...sections]
}

function quoted(text: string): string[] {
  return ['', ...text.split('\n').map((line) => `>     ${line}`)] // as code: a reply may hold any markup
}
