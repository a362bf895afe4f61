import fc from 'fast-check'
import { expect, it } from 'vitest'
import { stringifyLike } from '../../src/model/config-text.ts'

it('writes floats that are whole as they were, and nothing else otherwise', () => {
  const original = `{
  "cap": 30.0,
  "theta": 1e6,
  "small": 1e-05,
  "whole": 30,
  "rope": {
    "factors": [
      1.0,
      2,
      { "deep": 4.0 }
    ],
    "te\\"xt": "30.0, [1.0]"
  },
  "\\u0061": -0.0
}`
  const value = { ...JSON.parse(original), cap2: 30, whole: 31 }
  expect(stringifyLike(value, original)).toBe(
    `${JSON.stringify(value, null, 2)}`
      .replace('"cap": 30,', '"cap": 30.0,')
      .replace('1000000', '1e6')
      .replace('      1,\n', '      1.0,\n')
      .replace('"deep": 4\n', '"deep": 4.0\n')
      .replace('"a": 0', '"a": -0.0'),
  )
})

it('writes a value that changed as it is now', () => {
  expect(stringifyLike({ cap: 31 }, '{"cap": 30.0}')).toBe('{\n  "cap": 31\n}')
  expect(stringifyLike({ other: 30 }, '{"cap": 30.0}')).toBe('{\n  "other": 30\n}')
})

it('says the same as the value, whatever the value and the text', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), fc.boolean(), (value, other, same) => {
      const text = JSON.stringify(same ? value : other).replace(/(?<=[[:,])(-?\d+)(?=[,\]}])/g, '$1.0')
      expect(JSON.parse(stringifyLike(value, text))).toEqual(JSON.parse(JSON.stringify(value)))
    }),
  )
})
