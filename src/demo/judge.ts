import type { Random } from '../data/random.ts'
import { type Attribute, attributes, products, values } from './catalogue.ts'
import { askedFact } from './prompts.ts'
import { endings, openings, statements } from './replies.ts'

export interface Verdict {
  /** true: thumbs up. */
  up: boolean
  reason: 'helpful' | 'curt' | 'wrong' | 'rude' | 'nonsense'
}

interface Statement {
  product: string
  attribute: Attribute
  value: string
}

const rudeness = /\b(silly|lazy|wasting|yourself|care)\b/i
const sentence = /[^.!?]+[.!?]/g
const patterns = attributes.flatMap((attribute) =>
  statements[attribute].map((text) => ({ attribute, pattern: patternOf(text, values[attribute]) })),
)
const scrap = new RegExp(`^(It is |Just )?(${Object.values(values).flat().join('|')})\\.$`, 'i')

/**
 * Reads a reply as a customer would, who knows the truth. Thumbs up goes to a reply of a courtesy, one full sentence with the right fact
 * about the product asked for, and no more than a parting courtesy after it. Throws where the prompt is none of the demo's.
 */
export function judge(prompt: string, reply: string): Verdict {
  const asked = askedFact(prompt)
  const reason = reasonOf(asked, reply.trim())
  return { up: reason === 'helpful', reason }
}

function reasonOf(asked: Statement, reply: string): Verdict['reason'] {
  if (rudeness.test(reply)) return 'rude'
  const sentences = reply.match(sentence)?.map((text) => text.trim()) ?? []
  if (sentences.join(' ') !== reply) return 'nonsense' // an end is missing, or spaces are wrong
  if (sentences.length === 1 && scrap.test(reply)) return 'curt'
  const opened = openings.includes(sentences[0] ?? '')
  const [stated, ending = '', ...rest] = sentences.slice(opened ? 1 : 0)
  const told = statementOf(stated ?? '')
  if (!told || !endings.includes(ending) || rest.length > 0) return 'nonsense'
  const right = told.product === asked.product && told.attribute === asked.attribute && told.value === asked.value
  if (!right) return 'wrong'
  return opened ? 'helpful' : 'curt'
}

function statementOf(text: string): Statement | null {
  for (const { attribute, pattern } of patterns) {
    const found = pattern.exec(text)?.groups
    if (found) return { product: found.product!, attribute, value: found.value! }
  }
  return null
}

function patternOf(text: string, known: readonly string[]): RegExp {
  const source = text.replace('.', '\\.').replace('#', `(?<product>${products.join('|')})`)
  return new RegExp(`^${source.replace('*', `(?<value>${known.join('|')})`)}$`)
}

/** A thumb as careless people give it: turned round with probability `rate`. */
export function noisyThumb(up: boolean, rate: number, random: Random): boolean {
  return random.share() < rate ? !up : up
}
