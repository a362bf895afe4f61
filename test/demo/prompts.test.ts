import { expect, test } from 'vitest'
import { facts, products, values } from '../../src/demo/catalogue.ts'
import { askedFact, heldOutPrompts, trainingPrompts } from '../../src/demo/prompts.ts'

const allTraining = trainingPrompts(38_400, 0)
const allHeldOut = heldOutPrompts(7_680, 0)

/** The sentence about the product, without greeting and closing. */
const questionOf = (prompt: string) =>
  prompt
    .match(/[^.!?]+[.!?]/g)!
    .find((sentence) => sentence.includes(askedFact(prompt).product))!
    .trim()

test('every fact has a value that its attribute can have', () => {
  expect(facts).toHaveLength(products.length * Object.keys(values).length)
  for (const { attribute, value } of facts) expect(values[attribute]).toContain(value)
})

test('no product, attribute and question is both trained on and held out', () => {
  const trained = new Set(allTraining.map(questionOf))
  const heldOut = new Set(allHeldOut.map(questionOf))
  expect(trained.size).toBe(facts.length * 5)
  expect(heldOut.size).toBe(facts.length)
  expect([...heldOut].filter((question) => trained.has(question))).toEqual([])
})

test('each held-out question is trained on about other products, and each fact under other questions', () => {
  const form = (prompt: string) => questionOf(prompt).replace(askedFact(prompt).product, '#')
  expect(new Set(allTraining.map(form))).toEqual(new Set(allHeldOut.map(form)))
  expect(new Set(allTraining.map(askedFact))).toEqual(new Set(facts))
})

test('prompts are distinct, the same for a seed and others for another', () => {
  expect(new Set([...allTraining, ...allHeldOut]).size).toBe(46_080)
  expect(trainingPrompts(50, 3)).toEqual(trainingPrompts(50, 3))
  expect(trainingPrompts(50, 3)).not.toEqual(trainingPrompts(50, 4))
  expect(heldOutPrompts(50, 3)).not.toEqual(heldOutPrompts(50, 4))
})

test('more prompts than there are is refused with both numbers', () => {
  expect(() => heldOutPrompts(7_681, 0)).toThrow('count: there are 7680 held out prompts, got 7681')
})

test('a prompt of another world is refused', () => {
  expect(() => askedFact('How much is the moon?')).toThrow('"How much is the moon?"')
})
