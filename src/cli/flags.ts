import { type Command, Option as Flag } from 'commander'
import type { z } from 'zod'
import { type ConfigFile, readConfig } from '../options/config.ts'
import { type Option, optionsOf } from '../options/option.ts'
import { type Locate, show, validate } from '../options/validate.ts'

/** Gives a command a flag for every option of a table, and `--config`. */
export function addFlags(command: Command, table: z.ZodObject): void {
  for (const option of optionsOf(table)) for (const flag of flagsOf(option)) command.addOption(flag)
  command.addOption(
    new Flag('--config <file>', 'YAML file with options; flags win over it').helpGroup('Configuration:'),
  )
}

/** The options of a table from its defaults, the `--config` file and the flags, each winning over those before it. */
export function resolveOptions<T extends z.ZodObject>(command: Command, table: T): z.output<T> {
  const { config: file } = command.opts<{ config?: string }>()
  const config = file === undefined ? null : readConfig(file, table)
  const given = givenFlags(command, table)
  return validate(table, merged(config, given), sourceOf(optionsOf(table), config, given))
}

/** Values given as flags, by option. */
export function givenFlags(command: Command, table: z.ZodObject): Map<Option, unknown> {
  const values = command.opts<Record<string, unknown>>()
  const given = optionsOf(table).flatMap((option): [Option, unknown][] => {
    const raw = values[new Flag(option.declaration).attributeName()]
    return raw === undefined ? [] : [[option, typed(option, raw)]]
  })
  return new Map(given)
}

/** An option's default, as help and documentation show it. */
export function defaultText(option: Option): string {
  if (option.required) return 'required'
  if (typeof option.default === 'number') return show(option.default)
  return option.default === undefined ? (option.fallback ?? 'none') : String(option.default)
}

function flagsOf(option: Option): Flag[] {
  const flag = new Flag(option.declaration, `${option.description} (${noteOf(option)})`).helpGroup(`${option.group}:`)
  return option.kind === 'boolean' ? [flag, new Flag(negated(option)).hideHelp()] : [flag]
}

function noteOf(option: Option): string {
  if (option.required) return 'required'
  const choices = option.choices.length > 0 ? `${option.choices.join(', ')}; ` : ''
  return `${choices}default: ${defaultText(option)}${option.kind === 'boolean' ? `; also ${negated(option)}` : ''}`
}

/** The flag that turns a boolean off. */
export function negated(option: Option): string {
  return option.flag.replace('--', '--no-')
}

/** A flag's text as the option's type; text that is not of the type stays for the validation to refuse. */
function typed(option: Option, raw: unknown): unknown {
  if (option.kind === 'boolean' && (raw === 'true' || raw === 'false')) return raw === 'true'
  if (option.kind !== 'number' || typeof raw !== 'string' || raw.trim() === '') return raw
  const number = Number(raw)
  return Number.isNaN(number) ? raw : number
}

function merged(config: ConfigFile | null, given: ReadonlyMap<Option, unknown>): Record<string, unknown> {
  const values = structuredClone(config?.values ?? {})
  for (const [{ path }, value] of given) setIn(values, path, value)
  return values
}

/** Sets a nested value, unless something that holds no values is in its way: the validation refuses that. */
function setIn(values: Record<string, unknown>, [key, ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) {
    values[key!] = value
    return
  }
  values[key!] ??= {}
  const group = values[key!]
  if (typeof group === 'object') setIn(group as Record<string, unknown>, rest, value)
}

/** Names an option the way its value came: by flag, or by file and line. What came from nowhere could have been a flag. */
function sourceOf(options: readonly Option[], config: ConfigFile | null, given: ReadonlyMap<Option, unknown>): Locate {
  return (path) => {
    const option = options.find((candidate) => candidate.path.join('.') === path.join('.'))
    if (config && !(option && (given.has(option) || !config.has(path)))) return config.locate(path)
    return option?.flag ?? path.join('.')
  }
}
