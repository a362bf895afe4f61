import type { Origin } from './types.ts'

/** `rows.jsonl:7`, or `rows.parquet: row 7`. */
export function originText({ file, line, unit }: Origin): string {
  return unit === 'row' ? `${file}: row ${line}` : `${file}:${line}`
}

/** A row that cannot be used: the message names file, line, what is wrong and what to do. */
export class DataError extends Error {
  constructor(origin: Origin, problem: string) {
    super(`${originText(origin)}: ${problem}`)
  }
}

/** A value as it stands in a file, shortened for a message. */
export function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 60)}...` : text
}
