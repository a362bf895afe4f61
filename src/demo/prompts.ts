import { Random } from '../data/random.ts'
import { type Attribute, attributes, type Fact, facts } from './catalogue.ts'

/** A prompt is a greeting, a question and a closing. */
const greetings = ['', 'Hi!', 'Hello!', 'Good morning!', 'Hey there!', 'Excuse me.', 'Good day!', 'Hey!']
const closings = ['', 'Thanks!', 'Please tell me.', 'Thank you!']

/** Six ways to ask about each attribute; # is the product. */
const questions: Record<Attribute, readonly string[]> = {
  price: [
    'How much is the #?',
    'What does the # cost?',
    'What is the price of the #?',
    'Can you tell me the price of the #?',
    'I want to buy the #, how much is it?',
    'How many dollars do I pay for the #?',
  ],
  color: [
    'What color is the #?',
    'Which color does the # have?',
    'What is the color of the #?',
    'Can you tell me the color of the #?',
    'I like the #, what color is it?',
    'In which color do you sell the #?',
  ],
  material: [
    'What is the # made of?',
    'Which material is the # made of?',
    'What is the material of the #?',
    'Can you tell me the material of the #?',
    'I like the #, what is it made of?',
    'From which material do you make the #?',
  ],
  warranty: [
    'How long is the warranty of the #?',
    'What warranty does the # have?',
    'What is the warranty of the #?',
    'Can you tell me the warranty of the #?',
    'I want to buy the #, how long is the warranty?',
    'For how many years is the # under warranty?',
  ],
  delivery: [
    'How long does the delivery of the # take?',
    'When does the # arrive?',
    'What is the delivery time of the #?',
    'Can you tell me the delivery time of the #?',
    'I want to buy the #, when does it arrive?',
    'How many days until I get the #?',
  ],
  stock: [
    'Is the # in stock?',
    'Do you have the # now?',
    'Is the # still available?',
    'Can you tell me if the # is in stock?',
    'I want to buy the #, is it in stock?',
    'Are there any of the # left?',
  ],
}
const forms = questions.price.length
const dressings = greetings.length * closings.length

/**
 * Distinct prompts that may be trained on. No combination of product, attribute and question is also in `heldOutPrompts`.
 * Throws a RangeError where `count` is more than there are.
 */
export function trainingPrompts(count: number, seed: number): string[] {
  return draw('training', (fact, form) => form !== heldOutForm(fact), count, seed)
}

/**
 * Distinct prompts to measure on. For each fact (a product's attribute) one of the six questions is kept out of training, with every
 * greeting and closing. The fact itself is in training under the other five questions, and the held-out question is there about other
 * products: so these prompts test whether behaviour and knowledge carry over to new combinations, not whether new facts can be guessed.
 */
export function heldOutPrompts(count: number, seed: number): string[] {
  return draw('held out', (fact, form) => form === heldOutForm(fact), count, seed)
}

/** What a prompt asks for. Throws where it is none of the demo's prompts. */
export function askedFact(prompt: string): Fact {
  for (const fact of facts) {
    if (prompt.includes(fact.product) && questionsAbout(fact).some((question) => prompt.includes(question))) return fact
  }
  throw new Error(`prompt: the demo's shop does not know ${JSON.stringify(prompt)}; take one of its own prompts`)
}

/** All that can stand at the beginning of a prompt, and all that can follow a space in one. */
export function promptParts(): { first: string[]; next: string[] } {
  const asked = facts.flatMap(questionsAbout)
  return { first: [...greetings, ...asked], next: [...asked, ...closings] }
}

function questionsAbout({ product, attribute }: Fact): string[] {
  return questions[attribute].map((question) => question.replace('#', product))
}

/** Goes round the questions from fact to fact and from product to product, so each question is trained on for most products. */
function heldOutForm(fact: number): number {
  const product = Math.floor(fact / attributes.length)
  return (fact + product) % forms
}

function draw(name: string, take: (fact: number, form: number) => boolean, count: number, seed: number): string[] {
  const combinations = facts.flatMap((_, fact) =>
    Array.from({ length: forms }, (_, form) => ({ fact, form })).filter(({ fact, form }) => take(fact, form)),
  )
  const size = combinations.length * dressings
  if (count > size) throw new RangeError(`count: there are ${size} ${name} prompts, got ${count}; ask for fewer`)
  const order = new Random(name, seed).permutation(size).subarray(0, count)
  return Array.from(order, (place) => {
    const { fact, form } = combinations[Math.floor(place / dressings)]!
    const greeting = greetings[place % greetings.length]!
    const closing = closings[Math.floor((place % dressings) / greetings.length)]!
    return joinSentences([greeting, questionsAbout(facts[fact]!)[form]!, closing])
  })
}

/** Sentences to a text. */
export function joinSentences(sentences: readonly string[]): string {
  return sentences.filter((sentence) => sentence !== '').join(' ')
}
