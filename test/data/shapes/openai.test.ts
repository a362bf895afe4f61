import { expect, test } from 'vitest'
import { assistant, readRecords, user } from './read-records.ts'

test("OpenAI's preference format", async () => {
  const tools = [{ type: 'function', function: { name: 'weather' } }]
  const { rows } = await readRecords([
    {
      input: { messages: [user('Hi')], tools, parallel_tool_calls: true },
      preferred_output: [assistant('a')],
      non_preferred_output: [assistant('b')],
    },
  ])
  expect(rows).toMatchObject([
    { prompt: [user('Hi')], completion: [assistant('a')], label: true, tools },
    { prompt: [user('Hi')], completion: [assistant('b')], label: false, tools },
  ])
})

test("OpenAI's requests and responses", async () => {
  const response = {
    object: 'chat.completion',
    choices: [{ index: 0, message: assistant('yo'), finish_reason: 'stop' }],
  }
  const request = { model: 'gpt', messages: [user('Hi')] }
  const { judged, facts } = await readRecords([
    { request, response, feedback: { rating: 'thumbs_down', comment: 'rude' } },
    { ...response, messages: [user('Hi')], metadata: { feedback: 'up' } },
    { request, response, feedback: { comment: 'no thumb' } },
  ])
  expect(judged).toEqual([
    [[user('Hi')], [assistant('yo')], false],
    [[user('Hi')], [assistant('yo')], true],
  ])
  expect(facts.leftOut).toEqual({ 'no judgement': 1 })
})

test("items of OpenAI's responses: calls of functions and their outputs are turns, reasoning is none", async () => {
  const call = { type: 'function_call', call_id: 'c', name: 'weather', arguments: '{"at":"Bonn"}' }
  const said = { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Rain.' }] }
  const request = {
    instructions: 'Be brief.',
    input: [user('Weather?'), call, { type: 'function_call_output', call_id: 'c', output: '{"sky":"rain"}' }],
  }
  const response = { object: 'response', output: [{ type: 'reasoning', summary: [] }, said] }
  const { rows } = await readRecords([{ request, response, feedback: 'up' }])
  expect(rows[0]!.prompt).toEqual([
    { role: 'system', content: 'Be brief.' },
    user('Weather?'),
    {
      role: 'assistant',
      content: '',
      tool_calls: [{ id: 'c', type: 'function', function: { name: 'weather', arguments: { at: 'Bonn' } } }],
    },
    { role: 'tool', content: '{"sky":"rain"}', tool_call_id: 'c' },
  ])
  expect(rows[0]!.completion).toMatchObject([{ role: 'assistant', content: 'Rain.' }])
})

test("graders of OpenAI's evaluations: passed or not, or their score by a threshold; which of several is named", async () => {
  const item = (results: object[], more: object = {}) => ({
    object: 'eval.run.output_item',
    status: 'pass',
    sample: { input: [user('Q')], output: [assistant('A')] },
    results,
    ...more,
  })
  const one = [{ name: 'judge', passed: true, score: 0.6 }]
  expect((await readRecords([item(one)])).judged).toEqual([[[user('Q')], [assistant('A')], true]])
  const strict = { threshold: { kind: 'number', value: 0.8 } } as const
  expect((await readRecords([item(one)], strict)).rows[0]!.label).toBe(false)
  const two = [...one, { name: 'style', passed: false, score: 0 }]
  await expect(readRecords([item(two)])).rejects.toThrow(/judge, style; say which one judges with --score-name judge/)
  expect((await readRecords([item(two)], { scoreName: 'style' })).rows[0]!.label).toBe(false)
  const { facts } = await readRecords([item(one), item([], { status: 'error' })])
  expect(facts.leftOut).toEqual({ 'the run had an error': 1 })
})
