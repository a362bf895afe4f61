import { expect, test } from 'vitest'
import { pairsOf } from '../../src/demo/demo.ts'

test('of two replies to a question the better is chosen; replies with the same thumb make no pair', () => {
  const reply = (prompt: string, completion: string, label: boolean) => ({ prompt, completion, label })
  const feedback = [
    reply('a', 'good', true),
    reply('a', 'bad', false),
    reply('b', 'bad', false),
    reply('b', 'good', true),
    reply('c', 'good', true),
    reply('c', 'good too', true),
  ]
  expect(pairsOf(feedback)).toEqual([
    { prompt: 'a', chosen: 'good', rejected: 'bad' },
    { prompt: 'b', chosen: 'good', rejected: 'bad' },
  ])
})
