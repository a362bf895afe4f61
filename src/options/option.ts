import { z } from 'zod'

/** What the command line needs to know of an option beside its schema. */
export interface OptionMetadata {
  /** Flags as the help shows them, the main one last: `--lr, --learning-rate <number>`. */
  declaration: string
  /** Heading in the help and the documentation. */
  group: string
  /** What happens where the option is not given and the schema holds no default. */
  fallback?: string
}

const registry = z.registry<OptionMetadata>()

/** A maker of the options of one group: `(declaration, description, schema, fallback?)` gives the schema with its metadata attached. */
export function optionGroup(group: string) {
  return <T extends z.ZodType>(declaration: string, description: string, schema: T, fallback?: string): T => {
    const described = schema.describe(description)
    registry.add(described, { declaration, group, ...(fallback && { fallback }) })
    return described
  }
}

/** A nested group of options: it may be left out, and then every option in it takes its default. */
export function nested<T extends z.ZodRawShape>(description: string, shape: T) {
  return z
    .strictObject(shape)
    .prefault({} as never)
    .describe(description)
}

/** One or several texts; always a list once validated. */
export function textList() {
  const text = z.string().min(1)
  return z.union([text, z.array(text).min(1)]).transform((value) => [value].flat())
}

/** A number, or a word in its place. */
export function numberOr<W extends string>(number: z.ZodNumber, word: W) {
  return z.union([number, z.literal(word)])
}

/** True or false, or a word in their place. */
export function switchOr<W extends string>(word: W) {
  return z.union([z.boolean(), z.literal(word)])
}

/** One option of a table, as flags, help and documentation see it. */
export interface Option extends OptionMetadata {
  path: readonly string[]
  /** The main flag, `--learning-rate`. */
  flag: string
  description: string
  kind: 'text' | 'number' | 'boolean' | 'choice'
  list: boolean
  choices: readonly string[]
  required: boolean
  default: unknown
}

/** All options of a table, in its order. */
export function optionsOf(table: z.ZodObject, path: readonly string[] = []): Option[] {
  return Object.entries(table.shape).flatMap(([key, schema]) => {
    const here = [...path, key]
    const inner = unwrap(schema as z.ZodType)
    return inner instanceof z.ZodObject ? optionsOf(inner, here) : [describeOption(here, schema as z.ZodType, inner)]
  })
}

function describeOption(path: readonly string[], schema: z.ZodType, inner: z.ZodType): Option {
  const metadata = registry.get(schema)
  if (!metadata) throw new Error(`the option ${path.join('.')} has no flag: make it with optionGroup()`)
  const fallback = schema instanceof z.ZodDefault ? schema.def.defaultValue : undefined
  return {
    ...metadata,
    path,
    flag: /--[a-z\d-]+(?=$| [<[])/.exec(metadata.declaration)![0],
    description: schema.description ?? '',
    ...kindOf(inner, path),
    required: !schema.safeParse(undefined).success,
    default: fallback,
  }
}

function kindOf(inner: z.ZodType, path: readonly string[]): Pick<Option, 'kind' | 'list' | 'choices'> {
  if (inner instanceof z.ZodUnion && inner.options[1] instanceof z.ZodLiteral)
    return {
      kind: inner.options[0] instanceof z.ZodBoolean ? 'boolean' : 'number', // switchOr(), numberOr()
      list: false,
      choices: [String(inner.options[1].value)],
    }
  if (inner instanceof z.ZodUnion) return { kind: 'text', list: true, choices: [] } // textList()
  if (inner instanceof z.ZodString) return { kind: 'text', list: false, choices: [] }
  if (inner instanceof z.ZodNumber) return { kind: 'number', list: false, choices: [] }
  if (inner instanceof z.ZodBoolean) return { kind: 'boolean', list: false, choices: [] }
  if (inner instanceof z.ZodEnum) return { kind: 'choice', list: false, choices: inner.options.map(String) }
  throw new Error(`the option ${path.join('.')} is of a type that has no flag: ${inner.def.type}`)
}

/** The schema inside of defaults, optionals and transforms. */
export function unwrap(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional)
    return unwrap(schema.unwrap() as z.ZodType)
  if (schema instanceof z.ZodPipe) return unwrap(schema.in as z.ZodType)
  return schema
}
