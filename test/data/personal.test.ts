import { expect, test } from 'vitest'
import { isBoilerplate, masked, personalIn } from '../../src/data/personal.ts'

test.each([
  ['mail me: jane.doe+x@mail.example.co.uk!', 'mail me: [email]!'],
  ['Call +49 (0)228 12 34 56 or (555) 123-4567.', 'Call [phone] or [phone].'],
  ['token ghp_0123456789abcdefghijklmnopqrstuvwxyz', 'token [key]'],
  ['-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----', '[key]'],
])('%j is masked', (text, want) => {
  expect(masked(text)).toBe(want)
  expect(personalIn(want).size).toBe(0)
})

test.each([
  '16 - 3 = <<16-3=13>>13 and 112 * 2 = 224',
  'from 1990 to 2024, 1,000,000 people',
  '192.168.0.1:8080 and 3.14159265358979',
  'user @ home, a@b, @someone',
  'The sk- prefix and the hf_ prefix',
  '2026-01-02 03:04:05',
])('%j holds nothing personal', (text) => {
  expect(masked(text)).toBe(text)
})

test('a long text without finds takes no long time', () => {
  const text = `${'a.b-c_d%e+'.repeat(20_000) + '1 2 3 4 5 6 7 8 9 '.repeat(20_000)}@`
  const began = performance.now()
  personalIn(text)
  expect(performance.now() - began).toBeLessThan(1500)
})

test('refusals and disclaimers are boilerplate, talk about them is not', () => {
  expect(isBoilerplate("I'm sorry, but I can't help with that.")).toBe(true)
  expect(isBoilerplate('As a large language model, I have no body.')).toBe(true)
  expect(isBoilerplate('She said: as an AI language model it would refuse.')).toBe(false)
})
