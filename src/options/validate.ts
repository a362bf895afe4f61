import type { z } from 'zod'
import { type Option, optionsOf } from './option.ts'
import { suggest } from './suggest.ts'

/** A value that the user gave for an option is wrong; the message names the option, the value and what to do. */
export class OptionError extends Error {}

/** How the user knows an option: `--beta`, `run.yaml:3: loss.beta`, or `loss.beta` for callers of the library. */
export type Locate = (path: readonly string[]) => string

const dotted: Locate = (path) => path.join('.')

/** Values checked against a table and completed with its defaults; throws one OptionError that lists all that is wrong. */
export function validate<T extends z.ZodObject>(table: T, values: unknown, locate: Locate = dotted): z.output<T> {
  const result = table.safeParse(values, { reportInput: true })
  if (result.success) return result.data
  const options = optionsOf(table)
  const problems = result.error.issues.flatMap((issue) => {
    const path = issue.path.map(String)
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey([...path, key], options, locate))
    const option = options.find((candidate) => dotted(candidate.path) === dotted(path))
    return [`${locate(path)}: ${problemOf(issue, option)}`]
  })
  throw new OptionError(problems.join('\n'))
}

/** The type of an option, in words. */
const wanted: Record<Option['kind'], string> = {
  text: 'a text',
  number: 'a number',
  boolean: 'true or false',
  choice: 'one of',
}

function problemOf(issue: z.core.$ZodIssue, option: Option | undefined): string {
  const { input } = issue
  if (issue.code === 'custom') return issue.message
  if (!option)
    return issue.code === 'invalid_type' ? `expected options (key: value), got ${show(input)}` : issue.message
  if (input === undefined) return `required but not given: ${lowerFirst(option.description)}`
  const byDefault = option.default === undefined ? option.fallback : show(option.default)
  const hint = byDefault === undefined ? '' : ` (default: ${byDefault})`
  return `${expectation(issue, option)}, got ${show(input)}${suggestedChoice(input, option)}${hint}`
}

function expectation(issue: z.core.$ZodIssue, option: Option): string {
  if (issue.code === 'too_small' && option.kind === 'number')
    return `must be ${issue.inclusive ? 'at least' : 'above'} ${issue.minimum}`
  if (issue.code === 'too_big' && option.kind === 'number')
    return `must be ${issue.inclusive ? 'at most' : 'below'} ${issue.maximum}`
  if (issue.code === 'too_small') return 'must not be empty'
  if (issue.code === 'invalid_format') return issue.message
  if (issue.code === 'invalid_type' && String(issue.expected) === 'int') return 'expected a whole number'
  if (option.kind === 'choice') return `expected one of ${option.choices.join(', ')}`
  if (option.kind === 'number' && option.choices.length > 0) return `expected a number or ${option.choices.join(', ')}`
  if (option.kind === 'boolean' && option.choices.length > 0)
    return `expected true, false or ${option.choices.join(', ')}`
  return `expected ${wanted[option.kind]}${option.list ? ' or a list of texts' : ''}`
}

function suggestedChoice(input: unknown, option: Option): string {
  const near = typeof input === 'string' ? suggest(input, option.choices) : null
  return near ? `; did you mean ${near}?` : ''
}

/** A key that the table lacks: mistyped, or right and at another place (`beta` for `loss.beta`). */
function unknownKey(path: readonly string[], options: readonly Option[], locate: Locate): string {
  const [key, group] = [path.at(-1)!, path.slice(0, -1)]
  const inGroup = options.filter((option) => group.every((name, i) => option.path[i] === name))
  const siblings = [...new Set(inGroup.map((option) => option.path[group.length]!))]
  const sibling = suggest(key, siblings)
  const near = sibling ? dotted([...group, sibling]) : elsewhere(key, options)
  const fix = near ? `did you mean ${near}?` : `known here: ${siblings.join(', ')}`
  return `${locate(path)}: unknown option; ${fix}`
}

/** The option whose name, or whose flag's name, is nearest to `key`. */
function elsewhere(key: string, options: readonly Option[]): string | null {
  const byName = new Map(
    options.flatMap((option) => [option.path.at(-1)!, option.flag.slice(2)].map((name) => [name, option] as const)),
  )
  const near = suggest(key, [...byName.keys()])
  return near ? dotted(byName.get(near)!.path) : null
}

/** A value as one would write it: small numbers as 5e-6. */
export function show(value: unknown): string {
  if (typeof value === 'number' && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential()
  return JSON.stringify(value) ?? String(value)
}

function lowerFirst(text: string): string {
  return /^[A-Z]{2}/.test(text) ? text : text.charAt(0).toLowerCase() + text.slice(1)
}
