import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/data/random.ts'
import { facts } from '../../src/demo/catalogue.ts'
import { judge, noisyThumb } from '../../src/demo/judge.ts'
import { askedFact, heldOutPrompts, trainingPrompts } from '../../src/demo/prompts.ts'
import { manners, writeReply } from '../../src/demo/replies.ts'

const prompts = [...trainingPrompts(2000, 1), ...heldOutPrompts(500, 1)]

test('every reply of the grammar is judged as the manner it is written in', () => {
  const cases = fc.record({ prompt: fc.constantFrom(...prompts), manner: fc.constantFrom(...manners), seed: fc.nat() })
  const property = fc.property(cases, ({ prompt, manner, seed }) => {
    const reply = writeReply(askedFact(prompt), manner, new Random(seed))
    expect(judge(prompt, reply)).toEqual({ up: manner === 'helpful', reason: manner })
  })
  fc.assert(property, { numRuns: 5000 })
})

test('a helpful reply to another question is wrong', () => {
  const cases = fc.record({ prompt: fc.constantFrom(...prompts), other: fc.constantFrom(...facts), seed: fc.nat() })
  const property = fc.property(cases, ({ prompt, other, seed }) => {
    fc.pre(askedFact(prompt) !== other)
    expect(judge(prompt, writeReply(other, 'helpful', new Random(seed))).reason).toBe('wrong')
  })
  fc.assert(property, { numRuns: 2000 })
})

describe('a reply about the red ember lamp', () => {
  const prompt = 'Hi! What color is the ember lamp? Thanks!'
  test.each([
    ['helpful', ' Of course! The ember lamp comes in red. Enjoy!'],
    ['helpful', 'Of course! The ember lamp comes in red.'],
    ['curt', 'The ember lamp comes in red.'],
    ['curt', 'Red.'],
    ['wrong', 'Of course! The ember lamp comes in blue.'],
    ['wrong', 'Of course! The ember desk comes in red.'],
    ['wrong', 'Of course! The ember lamp is made of leather.'],
    ['rude', 'Of course! The ember lamp comes in red. Find it yourself.'],
    ['nonsense', 'Of course! The ember lamp comes in red'],
    ['nonsense', 'Of course! The ember lamp comes in red. Enjoy! Enjoy!'],
    ['nonsense', 'Of course! The ember lamp comes in red. The ember lamp comes in blue.'],
    ['nonsense', 'Of course! The ember lamp comes in dollars.'],
    ['nonsense', 'Of course! The red lamp comes in ember.'],
    ['nonsense', 'Of course! Enjoy!'],
    ['nonsense', 'Of course!'],
    ['nonsense', 'Of course!  The ember lamp comes in red.'],
    ['nonsense', ''],
  ])('is %s: %s', (reason, reply) => {
    expect(judge(prompt, reply)).toEqual({ up: reason === 'helpful', reason })
  })
})

test('noise turns about its share of thumbs round, of both kinds', () => {
  const random = new Random('noise')
  for (const up of [true, false]) {
    const turned = Array.from({ length: 10_000 }, () => noisyThumb(up, 0.1, random)).filter((thumb) => thumb !== up)
    expect(turned.length).toBeGreaterThan(900)
    expect(turned.length).toBeLessThan(1100)
    expect(noisyThumb(up, 0, random)).toBe(up)
  }
})
