import type { Difference, ExperimentResult } from './reproduce.ts'

const percent = (share: number) => `${(100 * share).toFixed(1)} %`
const points = (share: number) => `${share < 0 ? '-' : '+'}${Math.abs(100 * share).toFixed(1)}`

/** Tables for people. */
export function markdown(results: readonly ExperimentResult[]): string {
  return results.map(section).join('\n')
}

function section({ title, measure, seeds, arms, differences, paper, remark }: ExperimentResult): string {
  const rows = arms.map(
    ({ name, value, low, high, rows: trained, paper: figure }) =>
      `| ${name} | ${percent(value)} | ${percent(low)} to ${percent(high)} | ${trained || '-'} | ${figure ?? '-'} |`,
  )
  return [
    `## ${title}`,
    '',
    `| | ${measure} | 95 % interval${seeds > 1 ? ` over ${seeds} seeds` : ''} | rows | paper |`,
    '|---|---|---|---|---|',
    ...rows,
    '',
    ...(differences.length > 0 ? [...differenceTable(differences, seeds), ''] : []),
    `Paper: ${paper}. ${remark}`,
    '',
  ].join('\n')
}

function differenceTable(differences: readonly Difference[], seeds: number): string[] {
  const rows = differences.map(
    ({ first, second, mean, low, high }) =>
      `| ${first} - ${second} | ${points(mean)} | ${points(low)} to ${points(high)} |`,
  )
  const title = `difference in points, by pairs of equal ${seeds > 1 ? 'seeds' : 'questions'}`
  return [`| ${title} | mean | 95 % interval |`, '|---|---|---|', ...rows]
}
