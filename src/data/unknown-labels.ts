import { keyOf, type LabelError } from './labels.ts'
import { brief, DataError } from './origin.ts'
import type { Origin } from './types.ts'

/** The values of labels that say neither up nor down: all of a file's, so that the user can map them at once. */
export class UnknownLabels {
  readonly #origin: Origin
  readonly #first: LabelError
  readonly #counts = new Map<string, number>()

  constructor(origin: Origin, first: LabelError) {
    this.#origin = origin
    this.#first = first
  }

  seen = 0

  add(value: unknown): void {
    this.seen++
    const text = keyOf(value) ?? brief(value)
    if (this.#counts.size < 50 || this.#counts.has(text)) this.#counts.set(text, (this.#counts.get(text) ?? 0) + 1)
  }

  error(): DataError {
    const { message, value } = this.#first
    const missing = value === undefined || value === null || value === ''
    if (missing && this.#counts.size === 1)
      return new DataError(
        this.#origin,
        `${message}; name the column with --map label=<column>. Rows to imitate need none: train on them with --loss sft, look at them with --unlabeled`,
      )
    const values = [...this.#counts].sort((a, b) => b[1] - a[1])
    const shown = values.slice(0, 20).map(([text, count]) => `${JSON.stringify(text)} (${count})`)
    const numbers = values.every(([text]) => text !== '' && Number.isFinite(Number(text)))
    const fix = numbers
      ? 'for scores, say where thumbs up begins: --threshold <number>'
      : `say which mean up, down or no opinion (skip), for example: --labels ${values
          .slice(0, 3)
          .map(([text], i) => `${text}=${['up', 'down', 'skip'][i]}`)
          .join(',')}`
    return new DataError(
      this.#origin,
      `${message}; found in this file: ${shown.join(', ')}${values.length > 20 ? ' ...' : ''}; ${fix}`,
    )
  }
}
