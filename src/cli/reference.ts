import { z } from 'zod'
import { type Option, optionsOf } from '../options/option.ts'
import { defaultText, negated } from './flags.ts'

/** JSON Schema of a table's YAML file, for editors. Nothing is required in it: flags may give the rest. */
export function jsonSchemaOf(table: z.ZodObject, title: string): object {
  const { required: _, ...schema } = z.toJSONSchema(table, { io: 'input' })
  return { title, ...schema }
}

const introduction = `# Options

Every option is a flag, and a key of the YAML file that \`--config\` names; dots are nesting. Flags win over the file, the file wins over the
defaults. Keys may also be written in snake_case (\`desirable_weight\`), and \`null\` means the default. \`prospect schema <command>\` prints the JSON
Schema of the file, for editors. Callers of the library give the same keys as an object.

This page is written by \`node scripts/write-docs.mjs\` from the tables of options in \`src/\`. Every command that has such a table takes \`--config <file>\` too.
`

/** What commands take that is no key of a file. */
const besideTables: Readonly<Record<string, string>> = {
  train:
    'Beside these: `--resume <run>` goes on with a run, by its own config.yaml; `--quiet` prints results only. `prospect data preview` takes the same options, `--rows <count>` (3) and `--html <file>`: it shows rows as this command would train on them. `prospect demo` takes `--loss`.',
}

/** docs/options.md: the options of each command. */
export function optionsDocument(tables: Readonly<Record<string, z.ZodObject>>): string {
  const sections = Object.entries(tables).map(([name, table]) => {
    const more = besideTables[name]
    return `## prospect ${name}\n\n${more ? `${more}\n\n` : ''}${optionsMarkdown(table)}`
  })
  return [introduction, ...sections].join('\n')
}

/** A Markdown table of options for each group: flag, YAML key, default, meaning. */
export function optionsMarkdown(table: z.ZodObject): string {
  const groups = new Map<string, Option[]>()
  for (const option of optionsOf(table)) groups.set(option.group, [...(groups.get(option.group) ?? []), option])
  return [...groups].map(([group, options]) => `### ${group}\n\n${tableOf(options)}\n`).join('\n')
}

function tableOf(options: readonly Option[]): string {
  const head = ['| Flag | YAML key | Default | Meaning |', '|---|---|---|---|']
  return [...head, ...options.map(rowOf)].join('\n')
}

function rowOf(option: Option): string {
  const flags = [option.declaration, ...(option.kind === 'boolean' ? [negated(option)] : [])].map(code).join(', ')
  const choices = option.choices.length > 0 ? ` (${option.choices.map(code).join(', ')})` : ''
  const value = option.default === undefined ? escaped(defaultText(option)) : code(defaultText(option))
  return `| ${flags} | ${code(option.path.join('.'))} | ${value} | ${escaped(option.description)}${choices} |`
}

function code(text: string): string {
  return `\`${text.replaceAll('|', '\\|')}\`` // a bar would end the cell
}

function escaped(text: string): string {
  return text.replaceAll('<', '&lt;').replaceAll('|', '\\|')
}
