import colors from 'picocolors'
import { expect, test } from 'vitest'
import {
  alignedTable,
  displayWidth,
  formatBytes,
  formatDuration,
  formatNumber,
  printable,
  sideBySide,
  wrap,
} from '../../src/cli/table.ts'

test('width counts neither colours nor combining marks, and East Asian characters twice', () => {
  expect(displayWidth('\u001b[31mred\u001b[39m')).toBe(3)
  expect(displayWidth('e\u0301')).toBe(1)
  expect(displayWidth('日本')).toBe(4)
  expect(displayWidth('👍')).toBe(2)
  expect(displayWidth('é ñ –')).toBe(5)
})

test('a table aligns its columns, whatever their colours', () => {
  const bold = colors.createColors(true).bold
  const rows = [
    [bold('loss'), '1,234'],
    ['margin', '0.1'],
  ]
  expect(alignedTable(rows, ['left', 'right'])).toBe(`${bold('loss')}    1,234\nmargin    0.1`)
})

test('wrapping breaks between words, cuts words that do not fit, and keeps line ends', () => {
  expect(wrap('the quick brown fox', 10)).toEqual(['the quick', 'brown fox'])
  expect(wrap('a\n\nb', 10)).toEqual(['a', '', 'b'])
  expect(wrap('abcdefghij', 4)).toEqual(['abcd', 'efgh', 'ij'])
  expect(wrap('日本語', 4)).toEqual(['日本', '語'])
  expect(wrap('', 4)).toEqual([''])
  expect(wrap('exactly ten', 7)).toEqual(['exactly', 'ten'])
})

test('columns stand side by side within the width, the shorter ones filled up', () => {
  const text = sideBySide(
    [
      { title: 'before', text: 'one two three four five' },
      { title: 'after', text: 'six' },
    ],
    23,
  )
  expect(text.split('\n')).toEqual([
    'before       after',
    '----------   ----------',
    'one two      six',
    'three four',
    'five',
  ])
})

test('a reply cannot steer the terminal', () => {
  expect(printable('a\u001b[2Jb\r\nc\td\u0007\re')).toBe('ab\nc  de')
})

test('numbers are written for reading', () => {
  expect([1234, 0, -1234567, 0.123, 1.2345, 123.45, 12345.6, 5e-6, -0.5, Number.NaN].map(formatNumber)).toEqual([
    '1,234',
    '0',
    '-1,234,567',
    '0.12',
    '1.23',
    '123.5',
    '12,346',
    '5.0e-6',
    '-0.50',
    'NaN',
  ])
  expect([0.42, 12.3, 59.7, 192, 3599.8, 7500].map(formatDuration)).toEqual([
    '0.42 s',
    '12 s',
    '1 min 00 s',
    '3 min 12 s',
    '1 h 00 min',
    '2 h 05 min',
  ])
  expect([512, 1536, 3 * 2 ** 30].map(formatBytes)).toEqual(['512 bytes', '1.50 KiB', '3 GiB'])
})
