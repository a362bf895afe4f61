import type { FeedbackRow, Message } from './types.ts'

/** Kinds of text that should not be trained on unseen. */
export type Personal = 'email' | 'phone' | 'key'

const email = /[\p{L}\p{N}._%+-]{1,64}@[\p{L}\p{N}-]{1,63}(?:\.[\p{L}\p{N}-]{1,63})+/gu
// International numbers, or groups of digits that add up to a number with an area code. Years, sums and lists of short numbers are none.
const phone =
  /(?<![\w.,+/-])(?:\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}|\(\d{3}\) ?\d{3}[-. ]\d{4}|\d{3}[-.]\d{3}[-.]\d{4})(?![\w-])/g
const key =
  /\b(?:sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}|hf_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g

const patterns: readonly (readonly [Personal, RegExp, (text: string) => boolean])[] = [
  ['email', email, (text) => text.includes('@')],
  ['key', key, (text) => /sk-|gh[pousr]_|github_pat_|hf_|AKIA|AIza|xox|eyJ|PRIVATE KEY/.test(text)],
  ['phone', phone, (text) => /\d{3}/.test(text)],
]

/** What a text holds. A quick look keeps the patterns from texts that cannot hold them. */
export function personalIn(text: string): Set<Personal> {
  const found = new Set<Personal>()
  for (const [kind, pattern, possible] of patterns) {
    pattern.lastIndex = 0
    if (possible(text) && pattern.test(text)) found.add(kind)
  }
  return found
}

/** The text with each find replaced by its kind: "write to [email]". */
export function masked(text: string): string {
  return patterns.reduce(
    (result, [kind, pattern, possible]) => (possible(result) ? result.replace(pattern, `[${kind}]`) : result),
    text,
  )
}

/** A row with all its texts masked. */
export function maskedRow(row: FeedbackRow): FeedbackRow {
  return { ...row, prompt: maskedTexts(row.prompt), completion: maskedTexts(row.completion) }
}

function maskedTexts(text: string | Message[]): string | Message[] {
  if (typeof text === 'string') return masked(text)
  return text.map((message) =>
    typeof message.content === 'string' ? { ...message, content: masked(message.content) } : message,
  )
}

const phrases =
  /^\W{0,3}(?:as an? (?:ai|artificial intelligence|(?:large )?language model)\b|i(?:'|\u2019)?m (?:just )?an? (?:ai|language model)\b|(?:i(?:'|\u2019)?m|i am) sorry,? (?:but )?(?:i|as an)\b|i apologi[sz]e,? but i\b|i (?:cannot|can(?:'|\u2019)?t) (?:help|assist|fulfil|provide|do) )/i

/** Whether a reply begins as refusals and disclaimers of other models do. */
export function isBoilerplate(completion: string): boolean {
  return phrases.test(completion.slice(0, 120))
}
