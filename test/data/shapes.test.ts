import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseLabelMap } from '../../src/data/labels.ts'
import { type ReadOptions, readFeedback } from '../../src/data/read.ts'
import { shapes } from '../../src/data/shapes/index.ts'
import { parseThreshold } from '../../src/data/threshold.ts'
import { shapeNames } from '../../src/options/feedback-syntax.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-shapes-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function read(records: object[], options: Partial<ReadOptions> = {}) {
  const file = join(folder, 'rows.jsonl')
  writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''))
  const { rows, facts } = await readFeedback([file], { onBadRow: 'error', needLabels: true, ...options })
  return {
    rows,
    facts: facts.files[0]!,
    judged: rows.map(({ prompt, completion, label }) => [prompt, completion, label]),
  }
}
const user = (content: string) => ({ role: 'user', content })
const assistant = (content: string) => ({ role: 'assistant', content })

describe('scores', () => {
  const records = [1, 2, 3, 4, 10].map((rating) => ({ prompt: 'p', completion: `c${rating}`, rating }))
  test.each([
    ['4', [false, false, false, true, true]],
    ['mean', [false, false, false, true, true]],
    ['median', [false, false, true, true, true]],
    ['quantiles:0.25', [false, false, null, true, true]],
  ])('--threshold %s', async (text, want) => {
    const { rows } = await read(records, { threshold: parseThreshold(text) })
    const labels = new Map(rows.map(({ completion, label }) => [completion, label]))
    expect(records.map(({ completion }) => labels.get(completion) ?? null)).toEqual(want)
  })

  test('are never guessed', async () => {
    await expect(read(records)).rejects.toThrow(/rows\.jsonl:2: rating is 2; .*--threshold <number>/)
    expect(() => parseThreshold('high')).toThrow(/expected a number, mean, median/)
    await expect(read(records.slice(0, 1), { threshold: parseThreshold('quantiles:0.5') })).rejects.toThrow(
      /top and the bottom/,
    )
  })

  test('keep their value', async () => {
    expect((await read(records, { threshold: parseThreshold('4') })).rows.map(({ score }) => score)).toEqual([
      1, 2, 3, 4, 10,
    ])
  })
})

describe('ranked answers', () => {
  const record = { prompt: 'p', completions: ['b', 'a', 'c'], ranks: [2, 1, 3] }
  test.each([
    [
      'best-worst',
      [
        ['a', true],
        ['c', false],
      ],
      1,
    ],
    [
      'halves',
      [
        ['a', true],
        ['c', false],
      ],
      1,
    ],
    [
      'pairs',
      [
        ['a', true],
        ['b', false],
        ['a', true],
        ['c', false],
        ['b', true],
        ['c', false],
      ],
      0,
    ],
  ] as const)('%s', async (ranked, want, partly) => {
    const { rows, facts } = await read([record], { ranked })
    expect(rows.map(({ completion, label }) => [completion, label])).toEqual(want)
    expect(Object.values(facts.partlyLeftOut)).toEqual(partly ? [1] : [])
  })

  test('ranks beside each answer, and ties', async () => {
    const { rows, facts } = await read([
      {
        prompt: 'p',
        answers: [
          { text: 'x', rank: 0 },
          { text: 'y', rank: 1 },
        ],
      },
      {
        prompt: 'q',
        answers: [
          { text: 'x', rank: 1 },
          { text: 'y', rank: 1 },
        ],
      },
    ])
    expect(rows.map(({ completion, label, pair }) => [completion, label, pair])).toEqual([
      ['x', true, 0],
      ['y', false, 0],
    ])
    expect(facts).toMatchObject({ records: 2, used: 1, leftOut: { 'no answer is ranked above another': 1 } })
  })
})

test('UltraFeedback: best against worst, or by threshold', async () => {
  const record = {
    source: 'x',
    instruction: 'i',
    models: ['m'],
    completions: [3, 8.5, 1].map((overall_score) => ({
      model: 'm',
      response: `r${overall_score}`,
      overall_score,
      annotations: {},
    })),
  }
  expect((await read([record])).judged).toEqual([
    ['i', 'r8.5', true],
    ['i', 'r1', false],
  ])
  const { judged, facts } = await read([record], { threshold: parseThreshold('3') })
  expect(judged).toEqual([
    ['i', 'r3', true],
    ['i', 'r8.5', true],
    ['i', 'r1', false],
  ])
  expect(facts.shapes).toEqual({ ultrafeedback: 1 })
})

test('SHP: score ratio of at least 2, at most 5 pairs of a post', async () => {
  const pair = (history: string, labels: number, score_ratio: number) => ({
    post_id: 'x',
    history,
    human_ref_A: 'A',
    human_ref_B: 'B',
    labels,
    score_A: 9,
    score_B: 3,
    score_ratio,
  })
  const { judged, facts } = await read([
    pair('h', 1, 3),
    pair('h', 0, 2),
    pair('h', 1, 1.9),
    ...Array.from({ length: 5 }, () => pair('h', 1, 4)),
    pair('k', 0, 2),
  ])
  expect(judged.slice(0, 4)).toEqual([
    ['h', 'A', true],
    ['h', 'B', false],
    ['h', 'B', true],
    ['h', 'A', false],
  ])
  expect(facts).toMatchObject({
    records: 9,
    used: 6,
    pairs: 6,
    leftOut: { 'score ratio below 2': 1, 'more than 5 pairs of one prompt': 2 },
  })
})

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
    expect((await read([tree])).judged).toEqual(want)
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
    const { judged, facts } = await read([
      ...flat(tree.prompt as never, null, 't'),
      ...flat(tree.prompt as never, null, 'u'),
    ])
    expect(judged).toEqual([...want, ...want])
    expect(facts.records).toBe(14)
  })
})

describe('logs', () => {
  test("OpenAI's preference format", async () => {
    const tools = [{ type: 'function', function: { name: 'weather' } }]
    const { rows } = await read([
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
    const { judged, facts } = await read([
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
    const { judged } = await read([record])
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
    const { judged } = await read([
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
    const { rows, facts } = await read([
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
    await expect(read(both)).rejects.toThrow(
      /user-feedback, toxicity; say which one judges with --score-name user-feedback/,
    )
    expect((await read(both, { scoreName: 'user-feedback' })).rows).toMatchObject([{ label: true }])
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
    const { judged } = await read([
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
    await expect(read([run({ feedback_stats: { user_score: { n: 3, avg: 0.66 } } })])).rejects.toThrow(
      /user_score is 0.66/,
    )
  })
})

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
    const { judged, facts, rows } = await read([rated])
    expect(judged).toEqual([
      [[user('Hi')], [assistant('Go away')], false],
      [[user('Hi')], [assistant('Hello')], true],
    ])
    expect(facts.shapes).toEqual({ chatgpt: 1 })
    expect(rows[0]!.time).toBe(1.7e12)
  })

  test('one without feedback is left out and counted; broken trees name file and row', async () => {
    const fine = { ...record(...nodes), message_feedback: [{ message_id: 'c', rating: 'thumbs_up' }] }
    const { facts, judged } = await read([record(...nodes.slice(0, 3)), fine])
    expect(facts.leftOut).toEqual({ 'no judgement': 1 })
    expect(judged[1]).toEqual([[user('Hi'), assistant('Hello'), user('More')], [assistant('No verdict')], true])
    const rating = { metadata: { feedback: 'thumbs_up' } }
    await expect(read([record(node('x', 'gone', 'assistant', 'a', rating))])).rejects.toThrow(
      /rows\.jsonl:1: mapping has no node "?gone/,
    )
    await expect(read([record(node('x', 'x', 'assistant', 'a', rating))])).rejects.toThrow(/round in a circle/)
    const picture = { content_type: 'image_asset_pointer' }
    await expect(
      read([record(node('q', 'root', 'user', picture), node('x', 'q', 'assistant', 'a', rating))]),
    ).rejects.toThrow(/rows\.jsonl:1: mapping\.q holds .* which is no text/)
  })
})

test("edits: the corrected text is desirable, the model's own undesirable", async () => {
  const { judged, facts } = await read([
    { prompt: 'p', completion: 'teh', edited: 'the' },
    { prompt: 'p', completion: 'same', edited: 'same' },
  ])
  expect(judged).toEqual([
    ['p', 'the', true],
    ['p', 'teh', false],
  ])
  expect(facts.leftOut).toEqual({ 'the edit changes nothing': 1 })
})

test('regenerations: what was rejected is undesirable; the last is judged by its label alone', async () => {
  const { judged, facts } = await read([
    { prompt: 'p', attempts: ['a', 'b', 'c'], label: 'up' },
    { prompt: 'q', attempts: ['a', 'b'] },
    { prompt: 'r', completion: 'a', regenerated: true },
    { prompt: 's', completion: 'a', regenerated: false },
  ])
  expect(judged).toEqual([
    ['p', 'a', false],
    ['p', 'b', false],
    ['p', 'c', true],
    ['q', 'a', false],
    ['r', 'a', false],
  ])
  expect(facts).toMatchObject({
    leftOut: { 'not regenerated and no label': 1 },
    partlyLeftOut: { 'the last attempt has no label': 1 },
  })
})

test('kto-mix-14k: prompt and completion as messages', async () => {
  const { judged } = await read([{ prompt: [user('Hi')], completion: [assistant('yo')], label: true }])
  expect(judged).toEqual([[[user('Hi')], [assistant('yo')], true]])
})

test('weight, annotator, time and tools of a row come along; a weight that is none is an error', async () => {
  const base = { prompt: 'p', completion: 'c', label: 1 }
  const { rows } = await read([
    { ...base, weight: 0.5, annotator: 'a', timestamp: 1_700_000_000, tools: [{ name: 't' }] },
  ])
  expect(rows[0]).toMatchObject({ weight: 0.5, annotator: 'a', time: 1_700_000_000_000, tools: [{ name: 't' }] })
  await expect(read([{ ...base, weight: -1 }])).rejects.toThrow(/weight is -1; expected a number that is not negative/)
})

test('a forced shape is the only one, and its errors say what is missing', async () => {
  const record = { prompt: 'p', completion: 'c', label: true, score: 0 }
  expect((await read([record])).rows[0]!.label).toBe(true)
  expect((await read([record], { shape: 'scored' })).rows[0]!.label).toBe(false)
  await expect(read([record], { shape: 'edits' })).rejects.toThrow(/edited is missing; the row has prompt/)
})

test('labels without an opinion are left out and counted', async () => {
  const records = ['up', 'meh', 'down'].map((label) => ({ prompt: 'p', completion: label, label }))
  const { rows, facts } = await read(records, { labels: parseLabelMap('meh=skip') })
  expect(rows.map(({ label }) => label)).toEqual([true, false])
  expect(facts).toMatchObject({ records: 3, used: 2, leftOut: { 'no opinion': 1 } })
})

test('the names of shapes that options know are those that there are readers for', () => {
  expect(shapes.map(({ name }) => name)).toEqual([...shapeNames])
})

test('0 and -1 in one file is a question, not a bad row that could be skipped', async () => {
  const records = [1, 0, -1].map((label) => ({ prompt: 'p', completion: 'c', label }))
  await expect(read(records, { onBadRow: 'skip' })).rejects.toThrow(/rows\.jsonl:3: label is both 0 and -1/)
  expect((await read(records, { labels: parseLabelMap('0=skip') })).rows.map(({ label }) => label)).toEqual([
    true,
    false,
  ])
})
