import { expect, test } from 'vitest'
import { assistant, readRecords, user } from './read-records.ts'

const ui = (id: string, role: string, ...parts: object[]) => ({ id, role, parts })

test("Vercel's AI SDK, with votes; a turn that used a tool is judged by what it says after it", async () => {
  const record = {
    id: 'chat',
    messages: [
      ui('1', 'user', { type: 'text', text: 'Weather?' }),
      ui(
        '2',
        'assistant',
        { type: 'step-start' },
        {
          type: 'tool-weather',
          toolCallId: 'c',
          state: 'output-available',
          input: { city: 'Bonn' },
          output: { c: 9 },
        },
        { type: 'step-start' },
        { type: 'text', text: '9 degrees.' },
      ),
      ui('3', 'user', { type: 'text', text: 'Thanks' }),
      { ...ui('4', 'assistant', { type: 'text', text: 'Sure' }), metadata: { feedback: 'good' } },
    ],
    votes: [{ chatId: 'chat', messageId: '2', isUpvoted: false }],
  }
  const { judged } = await readRecords([record])
  const call = {
    role: 'assistant',
    content: '',
    tool_calls: [{ id: 'c', type: 'function', function: { name: 'weather', arguments: { city: 'Bonn' } } }],
  }
  const result = { role: 'tool', content: '{"c":9}', tool_call_id: 'c', name: 'weather' }
  expect(judged).toEqual([
    [[user('Weather?'), call, result], [assistant('9 degrees.')], false],
    [[user('Weather?'), call, result, assistant('9 degrees.'), user('Thanks')], [assistant('Sure')], true],
  ])
})

test('feedback on any turn: each is a row whose prompt is what came before, and no prompt shows the feedback', async () => {
  const { judged } = await readRecords([
    {
      messages: [
        user('a'),
        { ...assistant('b'), feedback: '👍' },
        user('c'),
        assistant('d'),
        user('e'),
        { ...assistant('f'), feedback: '👎' },
      ],
    },
  ])
  expect(judged).toEqual([
    [[user('a')], [assistant('b')], true],
    [[user('a'), assistant('b'), user('c'), assistant('d'), user('e')], [assistant('f')], false],
  ])
})
