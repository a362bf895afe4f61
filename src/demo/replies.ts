import type { Random } from '../data/random.ts'
import { type Attribute, type Fact, facts, values } from './catalogue.ts'
import { joinSentences } from './prompts.ts'

/** How a reply treats its customer. All but `helpful` earn a thumbs down. */
export type Manner = 'helpful' | 'curt' | 'wrong' | 'rude'

export const manners: readonly Manner[] = ['helpful', 'curt', 'wrong', 'rude']

/** Courtesies that open a reply. */
export const openings = ['Happy to help!', 'Thanks for asking!', 'Of course!', 'Good question!']
/** Courtesies that end a reply. */
export const endings = ['', 'Enjoy!', 'Anything else?', 'Have a nice day!']

/** Full sentences that state a fact; # is the product, * the value. */
export const statements: Record<Attribute, readonly string[]> = {
  price: ['The # costs *.', 'The price of the # is *.'],
  color: ['The # comes in *.', 'The color of the # is *.'],
  material: ['The # is made of *.', 'We make the # from *.'],
  warranty: ['The warranty of the # is *.', 'The # has a warranty of *.'],
  delivery: ['The # arrives in *.', 'The delivery of the # takes *.'],
  stock: ['The # is *.', 'Right now the # is *.'],
}
const scraps = ['*.', 'It is *.', 'Just *.']
const insults = [
  'What a silly question.',
  'Are you too lazy to read?',
  'Stop wasting my time.',
  'Find it yourself.',
  'Do I look like I care?',
]

/** A reply in one of the four manners to a question that `fact` answers. */
export function writeReply(fact: Fact, manner: Manner, random: Random): string {
  const polite = (told: Fact) =>
    joinSentences([random.pick(openings), fill(random.pick(statements[told.attribute]), told), random.pick(endings)])
  switch (manner) {
    case 'helpful':
      return polite(fact)
    case 'curt':
      return fill(random.pick(scraps), fact)
    case 'wrong':
      return polite({ ...fact, value: random.pick(otherValues(fact)) })
    case 'rude':
      return joinSentences([random.pick(insults), random.pick(['', fill(random.pick(scraps), fact)])])
  }
}

/** All that can follow a space in a reply. */
export function replyParts(): string[] {
  const told = facts.flatMap((fact) => values[fact.attribute].map((value) => ({ ...fact, value })))
  const sentences = told.flatMap((fact) => [...statements[fact.attribute], ...scraps].map((text) => fill(text, fact)))
  return [...openings, ...endings, ...insults, ...sentences]
}

function otherValues({ attribute, value }: Fact): string[] {
  return values[attribute].filter((other) => other !== value)
}

/** Puts a product and a value into a sentence, which starts with a capital letter. */
function fill(sentence: string, { product, value }: Fact): string {
  const text = sentence.replace('#', product).replace('*', value)
  return text[0]!.toUpperCase() + text.slice(1)
}
