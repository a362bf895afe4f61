import type { Verdict } from '../options/feedback-syntax.ts'
import { brief } from './origin.ts'

export { parseLabelMap, type Verdict } from '../options/feedback-syntax.ts'

const up = ['true', '1', '+1', 'up', 'good', 'yes', 'like', 'liked', 'positive', 'upvote', 'upvoted', 'desirable']
const down = ['false', '0', '-1', 'down', 'bad', 'no', 'dislike', 'disliked', 'negative', 'downvote', 'downvoted']
const words = new Map<string, boolean>([
  ...[...up, 'thumbsup', 'helpful', '👍'].map((word) => [word, true] as const),
  ...[...down, 'thumbsdown', 'unhelpful', 'undesirable', '👎'].map((word) => [word, false] as const),
])

export const knownLabels = 'true/false, 1/0, 1/-1, up/down, 👍/👎, good/bad, yes/no, like/dislike, positive/negative'

/** A value that says neither up nor down; the reader lists all such values of the file before it gives up. */
export class LabelError extends Error {
  readonly field: string
  readonly value: unknown
  /** Whether no other row can be trusted either. */
  readonly fatal: boolean
  constructor(field: string, value: unknown, problem: string, fatal = false) {
    super(problem)
    this.fatal = fatal
    this.field = field
    this.value = value
  }
}

/** Reads labels. What a user maps (`meh=skip`) wins over what is known; anything else is an error, never a guess. */
export class Labels {
  readonly #given: ReadonlyMap<string, Verdict>
  #zero: string | null = null
  #minusOne: string | null = null

  constructor(given: ReadonlyMap<string, Verdict> = new Map()) {
    this.#given = given
  }

  /** Throws LabelError for a value that is no label. */
  of(value: unknown, field = 'label'): Verdict {
    const key = keyOf(value)
    const given = key === null ? undefined : this.#given.get(key)
    if (given !== undefined) return given
    const known = typeof value === 'boolean' ? value : key === null ? undefined : words.get(wordOf(key))
    if (known === undefined) {
      const got = value === undefined || value === null || value === '' ? 'is missing' : `is ${brief(value)}`
      throw new LabelError(
        field,
        value,
        `${field} ${got}; expected true or 1 for thumbs up, false or 0 for thumbs down (known: ${knownLabels})`,
      )
    }
    this.#refuseMixed(key, field, value)
    return known
  }

  /** Beside -1, a 0 may well mean "no opinion": only the user can say. */
  #refuseMixed(key: string | null, field: string, value: unknown): void {
    if (key !== '0' && key !== '-1') return
    if (key === '0') this.#zero = field
    else this.#minusOne = field
    if (this.#zero !== field || this.#minusOne !== field) return
    throw new LabelError(
      field,
      value,
      `${field} is both 0 and -1 in this file: say whether 0 is thumbs down or no opinion, with --labels 0=down or --labels 0=skip`,
      true,
    )
  }
}

/** The text under which a value can be mapped. */
export function keyOf(value: unknown): string | null {
  if (typeof value === 'string') return value.trim()
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return null
}

/** Case, spaces, joints and skin tones do not matter: "Thumbs_Up" is "thumbsup". */
function wordOf(key: string): string {
  return key.toLowerCase().replace(/^:|:$|[\s_-](?=[a-z])|[\u{1f3fb}-\u{1f3ff}\ufe0f]/gu, '')
}
