import { expect, test } from 'vitest'
import { assistant, readRecords, user } from './read-records.ts'

test('Langfuse: the score that judges is named where there are several', async () => {
  const trace = (scores: object[], more = {}) => ({
    id: 't',
    timestamp: '2026-01-02T03:04:05Z',
    input: { messages: [user('Hi')] },
    output: assistant('yo'),
    userId: 'u7',
    scores,
    ...more,
  })
  const thumb = (value: unknown, more = {}) => ({
    id: 's',
    name: 'user-feedback',
    value,
    dataType: 'NUMERIC',
    source: 'API',
    comment: null,
    ...more,
  })
  const { rows, facts } = await readRecords([
    trace([thumb(1)]),
    trace([thumb(0)], { input: 'Hi', output: 'yo' }),
    trace([thumb(2, { dataType: 'CATEGORICAL', stringValue: 'good' })]),
    trace([]),
  ])
  expect(rows.map(({ label }) => label)).toEqual([true, false, true])
  expect(rows[1]).toMatchObject({
    prompt: [user('Hi')],
    completion: [assistant('yo')],
    annotator: 'u7',
    time: Date.UTC(2026, 0, 2, 3, 4, 5),
  })
  expect(facts.leftOut).toEqual({ 'no judgement': 1 })
  const both = [trace([thumb(1), { name: 'toxicity', value: 0.2 }])]
  await expect(readRecords(both)).rejects.toThrow(
    /user-feedback, toxicity; say which one judges with --score-name user-feedback/,
  )
  expect((await readRecords(both, { scoreName: 'user-feedback' })).rows).toMatchObject([{ label: true }])
})

test('LangSmith: feedback, statistics, corrections, and messages of LangChain', async () => {
  const chain = (kind: string, content: string) => ({
    lc: 1,
    type: 'constructor',
    id: ['langchain', 'schema', 'messages', kind],
    kwargs: { content },
  })
  const run = (
    feedback: object,
    outputs: object = { generations: [[{ text: 'yo', message: chain('AIMessage', 'yo') }]] },
  ) => ({
    id: 'r',
    run_type: 'llm',
    start_time: '2026-01-01T00:00:00',
    inputs: { messages: [[chain('HumanMessage', 'Hi')]] },
    outputs,
    ...feedback,
  })
  const { judged } = await readRecords([
    run({ feedback: [{ key: 'user_score', score: 1, comment: 'nice' }] }),
    run({ feedback_stats: { user_score: { n: 2, avg: 0 } } }, { output: 'yo' }),
    run({ feedback: [{ key: 'user_score', score: 0, correction: { output: 'better' } }] }),
  ])
  expect(judged).toEqual([
    [[user('Hi')], [assistant('yo')], true],
    [[user('Hi')], [assistant('yo')], false],
    [[user('Hi')], [assistant('better')], true],
    [[user('Hi')], [assistant('yo')], false],
  ])
  await expect(readRecords([run({ feedback_stats: { user_score: { n: 3, avg: 0.66 } } })])).rejects.toThrow(
    /user_score is 0.66/,
  )
})

test('texts that hold messages as JSON are messages; a reply that is JSON itself stays as it is', async () => {
  const record = (output: string) => ({
    trace_id: 't',
    input: JSON.stringify([user('Q')]),
    output,
    scores: [{ name: 'thumb', value: 1 }],
  })
  const { judged } = await readRecords([
    record(JSON.stringify(assistant('A'))),
    record('{"answer": 42}'),
    record('[1, 2'),
  ])
  expect(judged.map(([prompt]) => prompt)).toEqual([[user('Q')], [user('Q')], [user('Q')]])
  expect(judged.map(([, completion]) => completion)).toEqual([
    [assistant('A')],
    [assistant('{"answer": 42}')],
    [assistant('[1, 2')],
  ])
})

test("LangSmith's feedback in words: what all said; several words are a question", async () => {
  const run = (values: object) => ({
    inputs: '{"question": "Q"}',
    outputs: '{"answer": "A"}',
    feedback_stats: JSON.stringify({ thumb: { n: 2, avg: null, values } }),
  })
  expect((await readRecords([run({ down: 2 })])).judged).toEqual([[[user('Q')], [assistant('A')], false]])
  await expect(readRecords([run({ up: 1, down: 1 })])).rejects.toThrow(/thumb contradict each other: "up", "down"/)
})
