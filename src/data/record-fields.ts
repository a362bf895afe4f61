import { shapes } from './shapes/index.ts'
import { isObject } from './shapes/messages.ts'
import type { Fields } from './shapes/shape.ts'
import type { Origin } from './types.ts'

/** A record's JSON. Throws saying what is wrong with it. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`not JSON: ${(error as Error).message}; a row is one JSON object on one line`)
  }
}

/** APIs answer with their rows in one object: {"data": [...], "meta": ...}. */
export function expanded(value: unknown, { line, unit }: Origin): unknown[] {
  if (line !== 1 || unit === 'row' || !isObject(value)) return [value]
  for (const key of ['data', 'runs', 'traces', 'rows', 'records', 'examples']) {
    const list = value[key]
    if (Array.isArray(list) && list.length > 0 && list.every(isObject) && !shapes.some((shape) => shape.matches(value)))
      return list
  }
  return [value]
}

/** The fields under the names that `--map` gives them. Throws where a column is missing. */
export function mapped(fields: Fields, map: Readonly<Record<string, string>> | undefined): Fields {
  if (!map) return fields
  const result = { ...fields }
  for (const [field, column] of Object.entries(map)) {
    const value = valueAt(fields, column)
    if (value === undefined && !(column in fields))
      throw new Error(`--map ${field}=${column}: the row has no ${column}; it has ${Object.keys(fields).join(', ')}`)
    result[field] = value
  }
  return result
}

function valueAt(fields: Fields, path: string): unknown {
  if (path in fields) return fields[path]
  return path
    .split('.')
    .reduce<unknown>(
      (value, key) => (isObject(value) || Array.isArray(value) ? (value as Fields)[key] : undefined),
      fields,
    )
}
