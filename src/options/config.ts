import { isAlias, isMap, isScalar, LineCounter, type ParsedNode, parseDocument, stringify, type YAMLMap } from 'yaml'
import { z } from 'zod'
import { readTextFile } from './files.ts'
import { unwrap } from './option.ts'
import { type Locate, OptionError } from './validate.ts'

/** A configuration file as read: not yet validated. */
export interface ConfigFile {
  values: Record<string, unknown>
  /** `run.yaml:3: loss.beta`, for messages; without the line where the file lacks the option. */
  locate: Locate
  /** Whether the file sets the option. */
  has(path: readonly string[]): boolean
}

/** Options of a YAML file, which `option` names. Keys may also be written in snake_case, as the peers have them; an empty value or null means the default. */
export function readConfig(file: string, table: z.ZodObject, option = '--config'): ConfigFile {
  const reader = new Reader(file, readTextFile(option, file))
  const values = reader.values(table)
  const key = (path: readonly string[]) => path.join('.')
  const lineOf = (path: readonly string[]) => reader.lines.get(key(path))
  return {
    values,
    has: (path) => lineOf(path) !== undefined,
    locate: (path) => `${file}${lineOf(path) ? `:${lineOf(path)}` : ''}: ${key(path)}`,
  }
}

/** A configuration as the text of a YAML file. Options without a value are left out. */
export function configYaml(values: object): string {
  return stringify(values)
}

class Reader {
  /** The line of each option, by its dotted path in camelCase. */
  readonly lines = new Map<string, number>()
  readonly #counter = new LineCounter()
  readonly #document
  readonly #file: string

  constructor(file: string, text: string) {
    this.#file = file
    this.#document = parseDocument(text, { lineCounter: this.#counter, prettyErrors: false })
    const [error] = this.#document.errors
    if (error) this.#fail(error.pos[0], `not valid YAML: ${error.message}`)
  }

  values(table: z.ZodObject): Record<string, unknown> {
    const root = this.#document.contents
    if (root === null || (isScalar(root) && root.value === null)) return {}
    if (!isMap(root))
      return this.#fail(
        root.range[0],
        `expected options (key: value), got ${JSON.stringify(root.toJS(this.#document))}`,
      )
    return this.#mapping(root, table, [])
  }

  #mapping(map: YAMLMap.Parsed, table: z.ZodObject, path: readonly string[]): Record<string, unknown> {
    const result: Record<string, unknown> = {}
    const written = new Map<string, string>()
    for (const pair of map.items) {
      const offset = pair.key.range[0]
      const key = String(pair.key.toJS(this.#document))
      const name = knownName(key, table)
      const here = [...path, name]
      if (written.has(name)) this.#fail(offset, `${key} and ${written.get(name)} are the same option: keep one of them`)
      written.set(name, key)
      this.lines.set(here.join('.'), this.#line(offset))
      const value = this.#value(pair.value, table.shape[name] as z.ZodType | undefined, here)
      if (value !== null) result[name] = value
    }
    return result
  }

  #value(node: ParsedNode | null, schema: z.ZodType | undefined, path: readonly string[]): unknown {
    const target = isAlias(node) ? (node.resolve(this.#document) as ParsedNode) : node
    const inner = schema && unwrap(schema)
    if (isMap(target) && inner instanceof z.ZodObject) return this.#mapping(target as YAMLMap.Parsed, inner, path)
    return target?.toJS(this.#document) ?? null
  }

  #line(offset: number): number {
    return this.#counter.linePos(offset).line
  }

  #fail(offset: number, problem: string): never {
    throw new OptionError(`${this.#file}:${this.#line(offset)}: ${problem}`)
  }
}

/** The table's name for a key: itself, or its camelCase where only that is known. */
function knownName(key: string, table: z.ZodObject): string {
  const camel = key.replace(/_([a-z\d])/g, (_, letter: string) => letter.toUpperCase())
  return !(key in table.shape) && camel in table.shape ? camel : key
}
