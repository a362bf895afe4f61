import { isDeepStrictEqual } from 'node:util'
import { DataError } from '../data/read.ts'
import type { FeedbackRow, Message } from '../data/types.ts'
import { readTextFile } from '../options/files.ts'
import type { Matchup } from './judgement.ts'

/** A reply to a prompt, or what the data hold in its place. */
export interface Replied {
  prompt: string | Message[]
  completion: string | null
  reference?: string
  tools?: FeedbackRow['tools']
}

/**
 * Replies in a file: JSONL of `{prompt, completion}` (also `messages`, `chosen`; `answer` is what `exact` compares with), or the JSON that HALOs samples to,
 * `{"samples": [{prompt, policy, chosen}]}`, of which a candidate is `policy` and a baseline `chosen`.
 */
export function readReplies(file: string, role: 'candidate' | 'baseline', option = `--${role}`): Replied[] {
  const text = readTextFile(option, file)
  const samples = halosSamples(text)
  if (samples) return samples.map((row, i) => repliedOf(row, role, { file, line: i + 1 }))
  const lines = text.split('\n').flatMap((line, i) => (line.trim() === '' ? [] : [{ line, number: i + 1 }]))
  if (lines.length === 0) throw new Error(`${file}: no replies; the file is empty`)
  return lines.map(({ line, number }) => {
    const origin = { file, line: number }
    let row: unknown
    try {
      row = JSON.parse(line)
    } catch (error) {
      throw new DataError(origin, `not JSON: ${(error as Error).message}`)
    }
    return repliedOf(row, role, origin)
  })
}

function halosSamples(text: string): unknown[] | null {
  if (!text.trimStart().startsWith('{') || !text.includes('"samples"')) return null
  try {
    const { samples } = JSON.parse(text) as { samples?: unknown }
    return Array.isArray(samples) ? samples : null
  } catch {
    return null // JSONL
  }
}

function repliedOf(row: unknown, role: 'candidate' | 'baseline', origin: { file: string; line: number }): Replied {
  if (typeof row !== 'object' || row === null)
    throw new DataError(origin, `expected an object, got ${JSON.stringify(row)}`)
  const fields = row as Record<string, unknown>
  const given = ['completion', ...(role === 'candidate' ? ['policy', 'output'] : ['chosen', 'output'])].find(
    (name) => name in fields,
  )
  const messages = fields.messages as Message[] | undefined
  const last = messages?.at(-1)
  const ends = last?.role === 'assistant'
  const prompt = (fields.prompt ??
    fields.instruction ??
    (ends ? messages!.slice(0, -1) : messages)) as Replied['prompt']
  if (prompt === undefined)
    throw new DataError(origin, `no prompt; the row has ${Object.keys(fields).join(', ') || 'no fields'}`)
  const completion = given ? textOf(fields[given]) : ends ? textOf(last!.content) : null
  const reference = fields.answer === undefined ? undefined : String(fields.answer)
  const tools = Array.isArray(fields.tools) && fields.tools.length > 0 ? { tools: fields.tools } : null
  return { prompt, completion, ...(reference !== undefined && { reference }), ...tools }
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return value.map((message) => (message as Message).content).join('\n')
  return JSON.stringify(value)
}

/**
 * Candidates and baselines of equal prompts, the nth of a prompt with its nth; throws where a prompt is answered by one side only. `right`: the right
 * answer to a prompt whose replies name none.
 */
export function matchups(
  candidates: readonly Replied[],
  baselines: readonly Replied[],
  right: (prompt: Replied['prompt']) => string | undefined = () => undefined,
): Matchup[] {
  if (
    candidates.length === baselines.length &&
    candidates.every(({ prompt }, i) => isDeepStrictEqual(prompt, baselines[i]!.prompt))
  )
    return candidates.map((candidate, i) => matchup(candidate, baselines[i]!, right))
  const byPrompt = new Map<string, Replied[]>()
  for (const baseline of baselines) {
    const key = JSON.stringify(baseline.prompt)
    byPrompt.set(key, [...(byPrompt.get(key) ?? []), baseline])
  }
  return candidates.map((candidate, i) => {
    const baseline = byPrompt.get(JSON.stringify(candidate.prompt))?.shift()
    if (!baseline) {
      const text = JSON.stringify(candidate.prompt).slice(0, 80)
      throw new Error(
        `reply ${i + 1} of the candidate answers ${text}, which no reply of the baseline answers: compare on the same prompts`,
      )
    }
    return matchup(candidate, baseline, right)
  })
}

function matchup(
  { prompt, completion, reference }: Replied,
  other: Replied,
  right: (prompt: Replied['prompt']) => string | undefined,
): Matchup {
  if (completion === null || other.completion === null)
    throw new Error(`a reply to ${JSON.stringify(prompt).slice(0, 80)} is missing: rows need a completion`)
  const known = reference ?? other.reference ?? right(prompt)
  return {
    prompt,
    candidate: completion,
    baseline: other.completion,
    ...(known !== undefined && { reference: known }),
  }
}
