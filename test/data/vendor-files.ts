import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const user = (content: string) => ({ role: 'user', content })
const assistant = (content: string) => ({ role: 'assistant', content })
const up = (i: number) => i % 3 !== 0

/** Forty records in the format that each vendor or data set documents, by the shape that they should be taken for. */
const makers: Record<string, (i: number) => object> = {
  'openai-preference': (i) => ({
    input: { messages: [user(`Question ${i}?`)], tools: [], parallel_tool_calls: true },
    preferred_output: [assistant(`Good ${i}`)],
    non_preferred_output: [assistant(`Bad ${i}`)],
  }),
  'openai-log': (i) => ({
    request: { model: 'm', messages: [user(`Question ${i}?`)] },
    response: { id: `r${i}`, object: 'chat.completion', choices: [{ index: 0, message: assistant(`Answer ${i}`) }] },
    metadata: { feedback: up(i) ? 'thumbs_up' : 'thumbs_down' },
  }),
  chatgpt: (i) => ({
    title: `Chat ${i}`,
    mapping: {
      r: { id: 'r', message: null, parent: null, children: ['q'] },
      q: {
        id: 'q',
        message: { author: user(''), content: { content_type: 'text', parts: [`Question ${i}?`] } },
        parent: 'r',
      },
      a: {
        id: 'a',
        message: { author: assistant(''), content: { content_type: 'text', parts: [`Answer ${i}`] } },
        parent: 'q',
      },
    },
    message_feedback: [{ id: 'a', rating: up(i) ? 'thumbsUp' : 'thumbsDown' }],
  }),
  conversation: (i) => ({
    id: `chat-${i}`,
    messages: [
      { id: 'q', role: 'user', parts: [{ type: 'text', text: `Question ${i}?` }] },
      { id: 'a', role: 'assistant', parts: [{ type: 'step-start' }, { type: 'text', text: `Answer ${i}` }] },
      { id: 'q2', role: 'user', parts: [{ type: 'text', text: 'More' }] },
      { id: 'b', role: 'assistant', parts: [{ type: 'text', text: 'Not judged' }] },
    ],
    votes: [{ chatId: `chat-${i}`, messageId: 'a', isUpvoted: up(i) }],
  }),
  langfuse: (i) => ({
    id: `trace-${i}`,
    timestamp: '2026-01-01T00:00:00.000Z',
    input: { messages: [user(`Question ${i}?`)] },
    output: assistant(`Answer ${i}`),
    scores: [{ name: 'user-feedback', value: up(i) ? 1 : 0, dataType: 'BOOLEAN' }],
  }),
  langsmith: (i) => ({
    id: `run-${i}`,
    run_type: 'llm',
    inputs: {
      messages: [
        [{ lc: 1, type: 'constructor', id: ['langchain', 'HumanMessage'], kwargs: { content: `Question ${i}?` } }],
      ],
    },
    outputs: {
      generations: [
        [{ text: `Answer ${i}`, message: { lc: 1, id: ['x', 'AIMessage'], kwargs: { content: `Answer ${i}` } } }],
      ],
    },
    feedback_stats: { thumb: { n: 1, avg: up(i) ? 1 : 0 } },
  }),
  ultrafeedback: (i) => ({
    instruction: `Question ${i}?`,
    models: ['a', 'b', 'c'],
    completions: [1, 4, 3].map((score) => ({ model: 'm', response: `Answer ${score} to ${i}`, overall_score: score })),
  }),
  unpaired: (i) => ({ prompt: [user(`Question ${i}?`)], completion: [assistant(`Answer ${i}`)], label: up(i) }),
  shp: (i) => ({
    post_id: `p${i >> 3}`,
    history: `Question ${i >> 3}?`,
    human_ref_A: `Better ${i}`,
    human_ref_B: `Worse ${i}`,
    labels: 1,
    score_A: i % 4 === 0 ? 3 : 8,
    score_B: 2,
    score_ratio: i % 4 === 0 ? 1.5 : 4,
  }),
  'oasst-trees': (i) => ({
    message_tree_id: `t${i}`,
    tree_state: 'ready_for_export',
    prompt: {
      message_id: `t${i}`,
      text: `Question ${i}?`,
      role: 'prompter',
      replies: [2, 0, 1].map((rank) => ({
        message_id: `t${i}-${rank}`,
        text: `Answer ${rank}`,
        role: 'assistant',
        rank,
        replies: [],
      })),
    },
  }),
}

const [ups, downs] = [Array.from({ length: 40 }, (_, i) => up(i)).filter(Boolean).length, Math.ceil(40 / 3)]
const thumbs = { rows: 40, desirable: ups, undesirable: downs, pairs: 0, leftOut: 0 }
const pairs = { rows: 80, desirable: 40, undesirable: 40, pairs: 40, leftOut: 0 }

/** What must come of them. SHP: of 8 comparisons a post, 2 have a ratio under 2, and at most 5 are used. */
export const expectedCounts: Record<string, typeof thumbs> = {
  'openai-preference': pairs,
  'openai-log': thumbs,
  chatgpt: thumbs,
  conversation: thumbs,
  langfuse: thumbs,
  langsmith: thumbs,
  ultrafeedback: pairs,
  unpaired: thumbs,
  shp: { rows: 50, desirable: 25, undesirable: 25, pairs: 25, leftOut: 15 },
  'oasst-trees': pairs,
}

/** Writes a file a vendor; gives their paths by shape. */
export function writeVendorFiles(folder: string): Map<string, string> {
  mkdirSync(folder, { recursive: true })
  return new Map(
    Object.entries(makers).map(([shape, make]) => {
      const path = join(folder, `${shape}.jsonl`)
      writeFileSync(path, Array.from({ length: 40 }, (_, i) => `${JSON.stringify(make(i))}\n`).join(''))
      return [shape, path]
    }),
  )
}
