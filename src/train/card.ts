import { basename } from 'node:path'
import { configYaml } from '../options/config.ts'
import type { ResolvedTrainOptions } from './options.ts'
import type { DataFacts } from './prepare.ts'
import type { Evaluation } from './run.ts'

/** The README.md of a trained model: what it was made from, how, and what came out. */
export function modelCard(
  options: ResolvedTrainOptions,
  facts: DataFacts,
  evaluation: { before: Evaluation; after: Evaluation } | null,
): string {
  const { train, heldOut } = facts
  const header = [
    '---',
    `base_model: ${JSON.stringify(options.model)}`,
    `tags: [prospect, ${options.loss.type}]`,
    '---',
  ]
  const data = `${train.rows} rows on ${train.prompts} prompts (${train.desirable} thumbs-up, ${train.undesirable} thumbs-down)`
  return [
    ...header,
    '',
    `# ${basename(options.model)}, trained with ${options.loss.type.toUpperCase()}`,
    '',
    `Made by Prospect from \`${options.model}\` with ${data}, in ${facts.steps} steps; ${heldOut.rows} rows were held out.`,
    ...(evaluation ? ['', ...evaluationTable(evaluation)] : []),
    '',
    '## Configuration',
    '',
    '```yaml',
    configYaml(options).trimEnd(),
    '```',
    '',
  ].join('\n')
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
