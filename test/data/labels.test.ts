import { expect, test } from 'vitest'
import { Labels, parseLabelMap } from '../../src/data/labels.ts'

test.each([
  true,
  1,
  '1',
  '+1',
  'true',
  'TRUE',
  'up',
  'Thumbs_Up',
  'thumbs up',
  ' good ',
  '👍',
  '👍🏽',
  'like',
  'helpful',
])('%j is thumbs up', (value) => {
  expect(new Labels().of(value)).toBe(true)
})

test.each([false, 0, '0', -1, '-1', 'False', 'down', 'thumbs-down', 'bad', '👎', '👎🏿', 'unhelpful'])(
  '%j is thumbs down',
  (value) => {
    expect(new Labels().of(value)).toBe(false)
  },
)

test.each([2, 0.5, '0.7', 'meh', 'neutral', 'upp', null, undefined, '', {}, [1], 'no thumbs', Number.NaN])(
  '%j is neither, and never guessed',
  (value) => {
    expect(() => new Labels().of(value)).toThrow(/label is/)
  },
)

test('what the user maps wins, and may say no opinion', () => {
  const labels = new Labels(parseLabelMap('great=up,meh=skip,1=down'))
  expect(['great', 'meh', 1, 'good'].map((value) => labels.of(value))).toEqual([true, 'skip', false, true])
  expect(() => parseLabelMap('great=perhaps')).toThrow(/"great=perhaps" is not value=up/)
})

test('0 beside -1 may mean no opinion: the user has to say', () => {
  const labels = new Labels()
  expect(labels.of(0)).toBe(false)
  expect(() => labels.of(-1)).toThrow(/both 0 and -1.*--labels 0=down or --labels 0=skip/)
  const told = new Labels(parseLabelMap('0=skip'))
  expect([-1, 0, 1].map((value) => told.of(value))).toEqual([false, 'skip', true])
})
