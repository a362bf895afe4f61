import { describe, expect, test } from 'vitest'
import { assistant, readRecords, user } from './read-records.ts'

describe('OpenAssistant', () => {
  const reply = (text: string, rank: number | null, replies: object[] = []) => ({
    message_id: text,
    text,
    role: 'assistant',
    rank,
    replies,
  })
  const prompter = (text: string, replies: object[]) => ({ message_id: text, text, role: 'prompter', replies })
  const tree = {
    message_tree_id: 't',
    prompt: prompter('q', [
      reply('good', 0, [prompter('more', [reply('m1', 1), reply('m0', 0)])]),
      reply('bad', 1),
      reply('unranked', null),
    ]),
  }
  const want = [
    [[user('q')], [assistant('good')], true],
    [[user('q')], [assistant('bad')], false],
    [[user('q'), assistant('good'), user('more')], [assistant('m0')], true],
    [[user('q'), assistant('good'), user('more')], [assistant('m1')], false],
  ]
  test('trees', async () => {
    expect((await readRecords([tree])).judged).toEqual(want)
  })

  test('replies that were deleted are no answers', async () => {
    const replies = [reply('good', 0), { ...reply('worst', 2), deleted: true }, reply('bad', 1)]
    const { judged } = await readRecords([{ message_tree_id: 't', prompt: prompter('q', replies) }])
    expect(judged).toEqual(want.slice(0, 2))
  })

  test('messages, a tree after the other', async () => {
    const flat = (
      node: { message_id: string; text: string; role: string; rank?: number | null; replies: object[] },
      parent_id: string | null,
      message_tree_id: string,
    ): object[] => [
      {
        message_id: node.message_id,
        parent_id,
        message_tree_id,
        text: node.text,
        role: node.role,
        rank: node.rank ?? null,
      },
      ...node.replies.flatMap((child) => flat(child as never, node.message_id, message_tree_id)),
    ]
    const { judged, facts } = await readRecords([
      ...flat(tree.prompt as never, null, 't'),
      ...flat(tree.prompt as never, null, 'u'),
    ])
    expect(judged).toEqual([...want, ...want])
    expect(facts.records).toBe(14)
  })
})
