import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A stream of random numbers, 0 <= x < 1 (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

export interface Mutated {
  /** A line of a file, whatever became of it. */
  line: string
  /** The labels of the rows it must give, where it was not mutated; null where anything may come of it. */
  labels: boolean[] | null
}

const user = (content: string) => ({ role: 'user', content })
const assistant = (content: string) => ({ role: 'assistant', content })

/** Records of every shape whose labels are known. */
const makers: readonly ((
  text: () => string,
  up: boolean,
  value: () => unknown,
  id: number,
) => { record: object; labels: boolean[] })[] = [
  (text, up, value) => ({ record: { prompt: `p${text()}`, completion: text(), label: value() }, labels: [up] }),
  (text, up, value) => ({ record: { messages: [user(text()), assistant(text())], label: value() }, labels: [up] }),
  (text) => ({ record: { prompt: `p${text()}`, chosen: text(), rejected: text() }, labels: [true, false] }),
  (text) => ({
    record: { prompt: `p${text()}`, completion: `${text()}a`, edited: `${text()}b` },
    labels: [true, false],
  }),
  (text) => ({ record: { prompt: `p${text()}`, attempts: [text(), text(), text()] }, labels: [false, false] }),
  (text) => ({ record: { prompt: `p${text()}`, completions: [text(), text()], ranks: [2, 1] }, labels: [true, false] }),
  (text, up, value) => ({
    record: { messages: [user(text()), { ...assistant(text()), feedback: value() }, user(text())] },
    labels: [up],
  }),
  (text, up) => ({
    record: { input: text() || 'x', output: text(), scores: [{ name: 'thumb', value: up ? 1 : 0 }] },
    labels: [up],
  }),
  (text, up) => ({
    record: {
      inputs: { question: text() || 'x' },
      outputs: { output: text() },
      feedback: [{ key: 'k', score: up ? 1 : 0 }],
    },
    labels: [up],
  }),
  (text, up) => ({
    record: {
      input: { messages: [user(text())] },
      preferred_output: [assistant(text())],
      non_preferred_output: [assistant(text())],
    },
    labels: up ? [true, false] : [true, false],
  }),
  (text) => ({
    record: {
      instruction: `i${text()}`,
      completions: [
        { response: text(), overall_score: 2 },
        { response: text(), overall_score: 9 },
      ],
    },
    labels: [true, false],
  }),
  (text, up, value) => ({
    record: {
      mapping: {
        r: { id: 'r', parent: null, message: null },
        q: { id: 'q', parent: 'r', message: { author: { role: 'user' }, content: { parts: [text()] } } },
        a: {
          id: 'a',
          parent: 'q',
          message: { author: { role: 'assistant' }, content: { parts: [text()] }, feedback: { rating: value() } },
        },
      },
    },
    labels: [up],
  }),
  (text, up) => ({
    record: {
      object: 'eval.run.output_item',
      status: up ? 'pass' : 'fail',
      sample: { input: [user(text())], output: [assistant(text())] },
      results: [{ name: 'g', passed: up, score: up ? 1 : 0 }],
    },
    labels: [up],
  }),
  (text, up) => ({
    record: {
      prompt: [user(text())],
      output_A: [assistant(text())],
      output_B: [assistant(text())],
      label: up ? 1 : 0,
      type: 'pairwise_feedback',
    },
    labels: [true, false],
  }),
  (text, up, value) => ({
    record: { prompt: [user(text())], output: [assistant(text())], label: value(), type: 'binary_feedback' },
    labels: [up],
  }),
  (text, up, value) => {
    const asked = `p${text()}`
    return { record: { prompt: asked, completion: [user(asked), assistant(text())], label: value() }, labels: [up] }
  },
  (text, up) => ({
    record: {
      trace_id: 't',
      input: JSON.stringify([user(text())]),
      output: JSON.stringify(assistant(text())),
      scores: [
        { name: 'thumb', value: up ? 1 : 0, data_type: 'BOOLEAN' },
        { name: 'remark', value: 0, string_value: text(), data_type: 'TEXT' },
      ],
    },
    labels: [up],
  }),
  (text, up) => ({
    record: {
      inputs: JSON.stringify({ messages: [user(text())] }),
      outputs: JSON.stringify({ output: text() }),
      feedback_stats: { k: { n: 1, avg: null, values: { [up ? 'up' : 'down']: 1 } } },
    },
    labels: [up],
  }),
  (text, up) => ({
    record: {
      request: { input: text() || 'x' },
      response: { output: [assistant(text())] },
      feedback: up ? 'up' : 'down',
    },
    labels: [up],
  }),
  (text, _up, _value, id) => ({
    record: { history: `${id}${text()}`, human_ref_A: text(), human_ref_B: text(), labels: 1, score_ratio: 3 },
    labels: [true, false],
  }),
]

const ups = [true, 1, '1', 'up', '\u{1f44d}', 'Good', 'thumbs_up']
const downs = [false, 0, '0', 'down', '\u{1f44e}', 'BAD', 'thumbs-down']
const pieces = [
  '',
  'a',
  'word ',
  '\n',
  '"',
  '\\',
  '\u00e9',
  '\u{1f9c0}',
  '\ud800',
  '\u2028',
  '\0',
  '{',
  ']',
  'Human:',
  '\n\nAssistant:',
  '1e400',
  'null',
  '  ',
  '<s>',
  'x@y.org',
  '+49 228 1234567',
]
const odd = [
  null,
  7,
  -7,
  'meh',
  [],
  {},
  [[]],
  { role: 'user' },
  true,
  1e308,
  '',
  [{ role: 'assistant' }],
  [{ content: 5, role: 'user' }],
]

/** The `index`-th line of a seed: a record of some shape, every other one mutated. */
export function fuzzLine(seed: number, index: number): Mutated {
  const random = randomNumbers(seed * 1_000_003 + index)
  const pick = <T>(values: readonly T[]) => values[Math.floor(random() * values.length)]!
  const text = () => Array.from({ length: Math.floor(random() * 5) }, () => pick(pieces)).join('')
  const up = random() < 0.5
  const { record, labels } = pick(makers)(text, up, () => pick(up ? ups : downs), index)
  const line = JSON.stringify(record)
  if (random() < 0.5) return { line, labels }
  if (random() < 0.5) return { line: brokenText(line, random), labels: null }
  return { line: JSON.stringify(brokenRecord(record as Record<string, unknown>, random, pick)), labels: null }
}

function brokenText(line: string, random: () => number): string {
  const at = Math.floor(random() * line.length)
  const kind = random()
  if (kind < 0.3) return line.slice(0, at)
  if (kind < 0.6) return line.slice(0, at) + line.slice(at + 1 + Math.floor(random() * 5))
  if (kind < 0.8) return line.slice(0, at) + String.fromCharCode(33 + Math.floor(random() * 90)) + line.slice(at)
  return `${line}${line.slice(at)}`
}

function brokenRecord(
  record: Record<string, unknown>,
  random: () => number,
  pick: <T>(values: readonly T[]) => T,
): object {
  const keys = Object.keys(record)
  const [key, other] = [pick(keys), pick(keys)]
  const kind = random()
  if (kind < 0.4) return { ...record, [key]: pick(odd) }
  if (kind < 0.6) return Object.fromEntries(Object.entries(record).filter(([name]) => name !== key))
  if (kind < 0.8) return { ...record, [key]: record[other], [other]: record[key] }
  return {
    ...record,
    [pick(['label', 'scores', 'messages', 'prompt', 'weight', 'tools', 'rating', 'data', 'time'])]: pick(odd),
  }
}

/** Writes lines `from` to `to` of a seed to a file and hands both to `use`. */
export async function withFuzzFile(
  seed: number,
  count: number,
  use: (file: string, lines: Mutated[]) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'prospect-fuzz-'))
  try {
    const lines = Array.from({ length: count }, (_, i) => fuzzLine(seed, i))
    const file = join(folder, 'rows.jsonl')
    // A line feed inside of a broken line would be two lines.
    writeFileSync(file, lines.map(({ line }) => `${line.replaceAll('\n', ' ')}\n`).join(''))
    await use(file, lines)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
