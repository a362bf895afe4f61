// Files in the formats of vendors and data sets, as their documentation or their code has them (docs/data.md says which), of forty records each.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const user = (content) => ({ role: 'user', content })
const assistant = (content) => ({ role: 'assistant', content })
const up = (i) => i % 3 !== 0
const question = (i) => `Question ${i}?`
const answer = (i) => `Answer ${i}`
const at = (i) => new Date(Date.UTC(2026, 0, 1, 0, i)).toISOString()
const jsonl = (make, count = 40) => Array.from({ length: count }, (_, i) => `${JSON.stringify(make(i))}\n`).join('')
const json = (make) => JSON.stringify(Array.from({ length: 40 }, (_, i) => make(i)))

const [ups, downs] = [26, 14]
const thumbs = { rows: 40, desirable: ups, undesirable: downs, pairs: 0 }
const pairs = { rows: 80, desirable: 40, undesirable: 40, pairs: 40 }

/** OpenAI */
const chatCompletion = (i) => ({
  id: `chatcmpl-${i}`,
  object: 'chat.completion',
  created: 1767225600 + i,
  model: 'gpt-4o-mini',
  choices: [{ index: 0, message: { ...assistant(answer(i)), refusal: null }, finish_reason: 'stop', logprobs: null }],
  usage: { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 },
})
const responseObject = (i) => ({
  id: `resp_${i}`,
  object: 'response',
  created_at: 1767225600 + i,
  instructions: 'Be brief.',
  output: [
    { id: `rs_${i}`, type: 'reasoning', summary: [] },
    {
      id: `msg_${i}`,
      type: 'message',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text: answer(i), annotations: [] }],
    },
  ],
})

/** ChatGPT's export */
const chatgptConversation = (i) => {
  const node = (id, parent, role, text, children) => ({
    id,
    parent,
    children,
    message: {
      id,
      author: { role, name: null, metadata: {} },
      create_time: 1767225600 + i,
      content: { content_type: 'text', parts: [text] },
      status: 'finished_successfully',
      end_turn: role === 'assistant',
      weight: 1,
      metadata: {},
      recipient: 'all',
    },
  })
  return {
    title: `Chat ${i}`,
    create_time: 1767225600 + i,
    update_time: 1767225600 + i,
    mapping: {
      [`root-${i}`]: { id: `root-${i}`, message: null, parent: null, children: [`q-${i}`] },
      [`q-${i}`]: node(`q-${i}`, `root-${i}`, 'user', question(i), [`a-${i}`]),
      [`a-${i}`]: node(`a-${i}`, `q-${i}`, 'assistant', answer(i), []),
    },
    current_node: `a-${i}`,
    conversation_id: `conversation-${i}`,
    id: `conversation-${i}`,
  }
}
const chatgptFeedback = (i) => ({
  id: `a-${i}`,
  conversation_id: `conversation-${i}`,
  user_id: 'user-1',
  rating: up(i) ? 'thumbs_up' : 'thumbs_down',
  create_time: at(i),
  content: '{}',
})

/** Langfuse */
const apiTrace = (i) => ({
  id: `trace-${i}`,
  timestamp: at(i),
  name: 'chat',
  userId: `user-${i % 4}`,
  sessionId: null,
  bookmarked: false,
  public: false,
  tags: [],
  input: { messages: [user(question(i))] },
  output: assistant(answer(i)),
  observations: [`observation-${i}`],
  scores: [
    {
      id: `s-${i}`,
      traceId: `trace-${i}`,
      name: 'user-feedback',
      value: up(i) ? 1 : 0,
      stringValue: up(i) ? 'True' : 'False',
      dataType: 'BOOLEAN',
      source: 'API',
      comment: null,
    },
    {
      id: `t-${i}`,
      traceId: `trace-${i}`,
      name: 'remark',
      value: 0,
      stringValue: 'as I expected',
      dataType: 'TEXT',
      source: 'API',
    },
  ],
})
const tableTrace = (i) => ({
  id: `trace-${i}`,
  timestamp: at(i),
  name: 'chat',
  userId: `user-${i % 4}`,
  bookmarked: false,
  tags: [],
  input: [user(question(i))],
  output: assistant(answer(i)),
  observationCount: 1,
  totalCost: '0.0001',
  'user-feedback': [up(i) ? 1 : 0],
  helpfulness: null,
})
const csvCell = (value) => `"${(typeof value === 'string' ? value : JSON.stringify(value)).replaceAll('"', '""')}"`
const blobObservation = (i) => ({
  id: `observation-${i}`,
  trace_id: `trace-${i}`,
  project_id: 'p',
  type: 'GENERATION',
  parent_observation_id: '',
  start_time: '2026-01-01 00:00:00.000000',
  name: 'openai-chat',
  input: JSON.stringify([user(question(i))]),
  output: JSON.stringify(assistant(answer(i))),
  user_id: `user-${i % 4}`,
  tool_definitions: {},
})
const blobScore = (i) => ({
  id: `score-${i}`,
  timestamp: '2026-01-01 00:01:00.000000',
  project_id: 'p',
  trace_id: `trace-${i}`,
  observation_id: i % 2 === 0 ? `observation-${i}` : null,
  name: 'user-feedback',
  value: up(i) ? 1 : 0,
  source: 'API',
  comment: null,
  data_type: 'BOOLEAN',
  string_value: null,
})
const correctedTrace = (i) => ({
  ...apiTrace(i),
  scores: [{ id: `c-${i}`, name: 'output', value: `Better ${i}`, dataType: 'CORRECTION', source: 'ANNOTATION' }],
})

/** LangSmith */
const chainMessage = (kind, content) => ({
  lc: 1,
  type: 'constructor',
  id: ['langchain', 'schema', 'messages', kind],
  kwargs: { content },
})
const langchainRun = (i) => ({
  id: `run-${i}`,
  name: 'ChatOpenAI',
  run_type: 'llm',
  start_time: at(i),
  inputs: { messages: [[chainMessage('HumanMessage', question(i))]] },
  outputs: { generations: [[{ text: answer(i), message: chainMessage('AIMessage', answer(i)) }]], llm_output: null },
  feedback_stats: { thumb: { n: 1, avg: up(i) ? 1 : 0 } },
})
const openaiRun = (i) => ({
  id: `run-${i}`,
  name: 'ChatOpenAI',
  run_type: 'llm',
  start_time: at(i),
  inputs: { messages: [user(question(i))], model: 'm' },
  outputs: { choices: [{ index: 0, message: assistant(answer(i)) }] },
})
const bulkRun = (i) => {
  const { inputs, outputs, ...run } = openaiRun(i)
  const stats = { thumb: { n: 1, avg: null, values: { [up(i) ? 'up' : 'down']: 1 } } }
  return {
    ...run,
    inputs: JSON.stringify(inputs),
    outputs: JSON.stringify(outputs),
    feedback_stats: JSON.stringify(stats),
  }
}
const runFeedback = (i) => ({
  id: `feedback-${i}`,
  created_at: at(i),
  run_id: `run-${i}`,
  key: 'user_score',
  score: up(i) ? 1 : 0,
  value: null,
  comment: null,
  correction: null,
  feedback_source: { type: 'api' },
})

/** OpenAssistant */
const oasstMessage = (id, parent, text, role, rank, i) => ({
  message_id: id,
  parent_id: parent,
  user_id: 'u',
  created_date: at(i),
  text,
  role,
  lang: 'en',
  review_count: 3,
  review_result: true,
  deleted: false,
  rank,
  synthetic: false,
  message_tree_id: `t${i}`,
  tree_state: 'ready_for_export',
})

/**
 * What a vendor exports: the files of one export, the shape its records are taken for, what comes of them, and the flags it needs. SHP: of 8 comparisons a post,
 * 2 have a ratio under 2, and at most 5 are used.
 */
export const vendors = [
  {
    name: 'openai-preference',
    shape: 'openai-preference',
    files: {
      'preference.jsonl': jsonl((i) => ({
        input: { messages: [user(question(i))], tools: [], parallel_tool_calls: true },
        preferred_output: [assistant(`Good ${i}`)],
        non_preferred_output: [assistant(`Bad ${i}`)],
      })),
    },
    expected: pairs,
  },
  {
    name: 'openai-chat',
    shape: 'openai-log',
    files: {
      'calls.jsonl': jsonl((i) => ({
        request: { model: 'gpt-4o-mini', messages: [user(question(i))] },
        response: chatCompletion(i),
        metadata: { feedback: up(i) ? 'thumbs_up' : 'thumbs_down' },
      })),
    },
    expected: thumbs,
  },
  {
    name: 'openai-stored',
    shape: 'openai-log',
    files: {
      'stored.json': JSON.stringify({
        object: 'list',
        data: Array.from({ length: 40 }, (_, i) => ({
          ...chatCompletion(i),
          messages: [user(question(i))],
          metadata: { feedback: up(i) ? 'up' : 'down' },
        })),
        has_more: false,
      }),
    },
    expected: thumbs,
  },
  {
    name: 'openai-responses',
    shape: 'openai-log',
    files: {
      'responses.jsonl': jsonl((i) => ({
        request: { model: 'gpt-4o-mini', input: question(i), instructions: 'Be brief.' },
        response: responseObject(i),
        feedback: up(i) ? 1 : 0,
      })),
    },
    expected: thumbs,
  },
  {
    name: 'openai-evals',
    shape: 'openai-eval',
    files: {
      'items.jsonl': jsonl((i) => ({
        object: 'eval.run.output_item',
        id: `outputitem_${i}`,
        created_at: 1767225600 + i,
        status: up(i) ? 'pass' : 'fail',
        datasource_item_id: i,
        datasource_item: { question: question(i) },
        results: [{ name: 'judge', type: 'score_model', passed: up(i), score: up(i) ? 0.9 : 0.1 }],
        sample: { input: [user(question(i))], output: [assistant(answer(i))], finish_reason: 'stop', error: null },
      })),
    },
    expected: thumbs,
  },
  {
    name: 'chatgpt',
    shape: 'chatgpt',
    files: { 'conversations.json': json(chatgptConversation), 'message_feedback.json': json(chatgptFeedback) },
    expected: thumbs,
  },
  {
    name: 'vercel-votes',
    shape: 'conversation',
    files: {
      'chats.jsonl': jsonl((i) => ({
        id: `chat-${i}`,
        messages: [
          { id: `q-${i}`, role: 'user', parts: [{ type: 'text', text: question(i) }] },
          {
            id: `a-${i}`,
            role: 'assistant',
            parts: [
              { type: 'step-start' },
              { type: 'reasoning', text: 'They ask.', state: 'done' },
              {
                type: 'tool-look',
                toolCallId: `call-${i}`,
                state: 'output-available',
                input: { at: i },
                output: { found: i },
              },
              { type: 'step-start' },
              { type: 'text', text: answer(i), state: 'done' },
            ],
          },
          { id: `q2-${i}`, role: 'user', parts: [{ type: 'text', text: 'More' }] },
          { id: `b-${i}`, role: 'assistant', parts: [{ type: 'text', text: 'Not judged' }] },
        ],
        votes: [{ chatId: `chat-${i}`, messageId: `a-${i}`, isUpvoted: up(i) }],
      })),
    },
    expected: thumbs,
  },
  {
    name: 'vercel-metadata',
    shape: 'conversation',
    files: {
      'chats.jsonl': jsonl((i) => ({
        id: `chat-${i}`,
        messages: [
          { id: 'q', role: 'user', parts: [{ type: 'text', text: question(i) }] },
          {
            id: 'a',
            role: 'assistant',
            metadata: { feedback: up(i) ? 'up' : 'down' },
            parts: [{ type: 'text', text: answer(i) }],
          },
        ],
      })),
    },
    expected: thumbs,
  },
  { name: 'langfuse-api', shape: 'langfuse', files: { 'traces.jsonl': jsonl(apiTrace) }, expected: thumbs },
  {
    name: 'langfuse-table',
    shape: 'langfuse',
    files: { 'traces.json': json(tableTrace) },
    flags: { scoreName: 'user-feedback' },
    expected: thumbs,
  },
  {
    name: 'langfuse-csv',
    shape: 'langfuse',
    files: {
      'traces.csv': `${Object.keys(tableTrace(0)).map(csvCell).join(',')}\n${Array.from({ length: 40 }, (_, i) =>
        Object.values(tableTrace(i))
          .map((value) => (value === null ? '' : csvCell(value)))
          .join(','),
      ).join('\n')}\n`,
    },
    flags: { scoreName: 'user-feedback' },
    expected: thumbs,
  },
  {
    name: 'langfuse-storage',
    shape: 'langfuse',
    files: { 'observations.jsonl': jsonl(blobObservation), 'scores.jsonl': jsonl(blobScore) },
    expected: thumbs,
  },
  {
    name: 'langfuse-corrections',
    shape: 'langfuse',
    files: { 'traces.jsonl': jsonl(correctedTrace) },
    expected: pairs,
  },
  { name: 'langsmith-langchain', shape: 'langsmith', files: { 'runs.jsonl': jsonl(langchainRun) }, expected: thumbs },
  { name: 'langsmith-bulk', shape: 'langsmith', files: { 'runs.jsonl': jsonl(bulkRun) }, expected: thumbs },
  {
    name: 'langsmith-feedback',
    shape: 'langsmith',
    files: { 'runs.jsonl': jsonl(openaiRun), 'feedback.jsonl': jsonl(runFeedback) },
    expected: thumbs,
  },
  {
    name: 'ultrafeedback',
    shape: 'ultrafeedback',
    files: {
      'train.jsonl': jsonl((i) => ({
        source: 'evol_instruct',
        instruction: question(i),
        models: ['a', 'b', 'c', 'd'],
        completions: [1, 7.5, 4, 3].map((score) => ({
          annotations: { helpfulness: { Rating: '3', Rationale: 'It is.' } },
          custom_system_prompt: 'Be helpful.',
          model: 'm',
          principle: 'helpfulness',
          response: `${answer(i)} of ${score}`,
          critique: 'Fair.',
          'fine-grained_score': score / 2,
          overall_score: score,
        })),
        correct_answers: ['None'],
        incorrect_answers: ['None'],
      })),
    },
    expected: pairs,
  },
  {
    name: 'ultrafeedback-binarized',
    shape: 'paired',
    files: {
      'prefs.jsonl': jsonl((i) => ({
        prompt: question(i),
        prompt_id: `p${i}`,
        chosen: [user(question(i)), assistant(`Good ${i}`)],
        rejected: [user(question(i)), assistant(`Bad ${i}`)],
        messages: [user(question(i)), assistant(`Good ${i}`)],
        score_chosen: 8,
        score_rejected: 4,
      })),
    },
    expected: pairs,
  },
  {
    name: 'kto-mix-14k',
    shape: 'unpaired',
    files: {
      'train.jsonl': jsonl((i) => ({ prompt: [user(question(i))], completion: [assistant(answer(i))], label: up(i) })),
    },
    expected: thumbs,
  },
  {
    name: 'kto-mix-15k',
    shape: 'unpaired',
    files: {
      'train.jsonl': jsonl((i) => ({
        prompt: question(i),
        completion: [user(question(i)), assistant(answer(i))],
        label: up(i),
        rating: up(i) ? 5 : 1,
        dataset: 'd',
      })),
    },
    expected: thumbs,
  },
  {
    name: 'shp',
    shape: 'shp',
    files: {
      'train.jsonl': jsonl((i) => ({
        post_id: `p${i >> 3}`,
        domain: 'askculinary_train',
        upvote_ratio: 0.98,
        history: question(i >> 3),
        c_root_id_A: `a${i}`,
        c_root_id_B: `b${i}`,
        created_at_utc_A: 1636822112,
        created_at_utc_B: 1636822110,
        score_A: i % 4 === 0 ? 3 : 8,
        score_B: 2,
        human_ref_A: `Better ${i}`,
        human_ref_B: `Worse ${i}`,
        labels: 1,
        seconds_difference: 2,
        score_ratio: i % 4 === 0 ? 1.5 : 4,
      })),
    },
    expected: { rows: 50, desirable: 25, undesirable: 25, pairs: 25 },
  },
  {
    name: 'oasst-trees',
    shape: 'oasst-trees',
    files: {
      'trees.jsonl': jsonl((i) => ({
        message_tree_id: `t${i}`,
        tree_state: 'ready_for_export',
        prompt: {
          ...oasstMessage(`t${i}`, null, question(i), 'prompter', null, i),
          replies: [2, 0, 1].map((rank) => ({
            ...oasstMessage(`t${i}-${rank}`, `t${i}`, `${answer(i)} ranked ${rank}`, 'assistant', rank, i),
            replies: [],
          })),
        },
      })),
    },
    expected: pairs,
  },
  {
    name: 'oasst-messages',
    shape: 'oasst-messages',
    files: {
      'messages.jsonl': Array.from({ length: 40 }, (_, i) =>
        [
          oasstMessage(`t${i}`, null, question(i), 'prompter', null, i),
          ...[2, 0, 1].map((rank) =>
            oasstMessage(`t${i}-${rank}`, `t${i}`, `${answer(i)} ranked ${rank}`, 'assistant', rank, i),
          ),
        ]
          .map((message) => `${JSON.stringify(message)}\n`)
          .join(''),
      ).join(''),
    },
    expected: pairs,
  },
  {
    name: 'hh-rlhf',
    shape: 'paired',
    files: {
      'train.jsonl': jsonl((i) => ({
        chosen: `\n\nHuman: ${question(i)}\n\nAssistant: Good ${i}`,
        rejected: `\n\nHuman: ${question(i)}\n\nAssistant: Bad ${i}`,
      })),
    },
    expected: pairs,
  },
  {
    name: 'halos-binary',
    shape: 'halos',
    files: {
      'feedback.json': json((i) => ({
        prompt_id: i,
        prompt: [user(question(i))],
        output: [assistant(answer(i))],
        label: up(i) ? 1 : 0,
        reward: up(i) ? 0.7 : -0.2,
        type: 'binary_feedback',
        split: 'train',
      })),
    },
    expected: thumbs,
  },
  {
    name: 'halos-pairwise',
    shape: 'halos',
    files: {
      'feedback.json': json((i) => ({
        prompt_id: i,
        prompt: [user(question(i))],
        output_A: [assistant(up(i) ? `Good ${i}` : `Bad ${i}`)],
        output_B: [assistant(up(i) ? `Bad ${i}` : `Good ${i}`)],
        label: up(i) ? 1 : 0,
        reward_A: up(i) ? 2 : 1,
        reward_B: up(i) ? 1 : 2,
        reward_difference: 1,
        type: 'pairwise_feedback',
      })),
    },
    expected: pairs,
  },
]

/** Writes a folder a vendor; gives the files of each by name. */
export function writeVendorFiles(folder) {
  return new Map(
    vendors.map(({ name, files }) => {
      mkdirSync(join(folder, name), { recursive: true })
      const paths = Object.entries(files).map(([file, text]) => {
        writeFileSync(join(folder, name, file), text)
        return join(folder, name, file)
      })
      return [name, paths]
    }),
  )
}
