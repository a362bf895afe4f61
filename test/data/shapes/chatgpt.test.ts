import { describe, expect, test } from 'vitest'
import { assistant, readRecords, user } from './read-records.ts'

describe("ChatGPT's export", () => {
  const node = (id: string, parent: string | null, role: string, text: unknown, more: object = {}) => ({
    [id]: {
      id,
      parent,
      children: [],
      message: { id, author: { role }, content: { content_type: 'text', parts: [text] }, create_time: 1.7e9, ...more },
    },
  })
  const record = (...nodes: object[]) => ({
    title: 't',
    current_node: 'b2',
    mapping: Object.assign({ root: { id: 'root', message: null, parent: null, children: ['s'] } }, ...nodes),
  })
  const nodes = [
    node('s', 'root', 'system', ''),
    node('h', 's', 'user', 'hidden', { metadata: { is_visually_hidden_from_conversation: true } }),
    node('q', 'h', 'user', 'Hi'),
    node('b1', 'q', 'assistant', 'Go away', { metadata: { feedback: { rating: 'thumbs_down' } } }),
    node('b2', 'q', 'assistant', 'Hello'),
    node('q2', 'b2', 'user', 'More'),
    node('c', 'q2', 'assistant', 'No verdict'),
  ]

  test('each judged reply of any branch is a row whose prompt is the way to it', async () => {
    const rated = { ...record(...nodes), message_feedback: [{ id: 'b2', rating: 'thumbs_up' }] }
    const { judged, facts, rows } = await readRecords([rated])
    expect(judged).toEqual([
      [[user('Hi')], [assistant('Go away')], false],
      [[user('Hi')], [assistant('Hello')], true],
    ])
    expect(facts.shapes).toEqual({ chatgpt: 1 })
    expect(rows[0]!.time).toBe(1.7e12)
  })

  test('one without feedback is left out and counted; broken trees name file and row', async () => {
    const fine = { ...record(...nodes), message_feedback: [{ message_id: 'c', rating: 'thumbs_up' }] }
    const { facts, judged } = await readRecords([record(...nodes.slice(0, 3)), fine])
    expect(facts.leftOut).toEqual({ 'no judgement': 1 })
    expect(judged[1]).toEqual([[user('Hi'), assistant('Hello'), user('More')], [assistant('No verdict')], true])
    const rating = { metadata: { feedback: 'thumbs_up' } }
    await expect(readRecords([record(node('x', 'gone', 'assistant', 'a', rating))])).rejects.toThrow(
      /rows\.jsonl:1: mapping has no node "?gone/,
    )
    await expect(readRecords([record(node('x', 'x', 'assistant', 'a', rating))])).rejects.toThrow(/round in a circle/)
    const picture = { content_type: 'image_asset_pointer' }
    await expect(
      readRecords([record(node('q', 'root', 'user', picture), node('x', 'q', 'assistant', 'a', rating))]),
    ).rejects.toThrow(/rows\.jsonl:1: mapping\.q holds .* which is no text/)
  })
})
