import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { generate } from '../../src/infer/generate.ts'
import { type GenerateOptions, generateOptions, type Reply } from '../../src/infer/options.ts'
import { liveTensors } from '../../src/tensor/scope.ts'
import type { Progress } from '../../src/train/run.ts'
import { writeByteTokenizer, writeTinyModel } from '../tiny-model.ts'

const template =
  "{% for m in messages %}{{ '<s>' + m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"

let folder: string
let plain: string
let chat: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-generate-'))
  plain = writeTinyModel(join(folder, 'plain'))
  chat = writeTinyModel(join(folder, 'chat'))
  writeByteTokenizer(chat, { chat_template: template })
})
afterAll(() => rmSync(folder, { recursive: true }))

async function repliesOf(options: Partial<GenerateOptions>, progress?: Progress): Promise<Reply[]> {
  const defaults = { model: plain, maxTokens: 12, greedy: true, precision: 'float32' as const }
  const replies: Reply[] = []
  const resolved = generateOptions.parse({ ...defaults, ...options })
  for await (const reply of generate(resolved, { progress })) replies.push(reply)
  return replies
}

function promptFile(...rows: (object | string)[]): string {
  const file = join(folder, 'prompts.jsonl')
  writeFileSync(file, rows.map((row) => `${typeof row === 'string' ? row : JSON.stringify(row)}\n`).join(''))
  return file
}

const completions = (replies: readonly Reply[]) => replies.map(({ completion }) => completion)

describe('generate', () => {
  it('answers prompts in their order, each with its text and length', async () => {
    const prompt = Array.from({ length: 30 }, (_, i) => `Question ${i}`)
    const replies = await repliesOf({ prompt, greedy: false })
    expect(replies.map((reply) => reply.prompt)).toEqual(prompt)
    expect(replies.some(({ completion }) => completion.length > 0)).toBe(true)
    for (const { tokens, finish } of replies) expect(finish === 'length' ? tokens === 12 : tokens < 12).toBe(true)
    expect(await repliesOf({ prompt, greedy: false })).toEqual(replies)
  })

  it('ends a reply at a text that is not to be in it, and tells log-probabilities', async () => {
    const [whole] = await repliesOf({ prompt: 'one', maxTokens: 40 })
    const stop = whole!.completion.slice(8, 10)
    const [cut] = await repliesOf({ prompt: 'one', maxTokens: 40, stop: ['never there', stop], logprobs: true })
    expect(cut!.completion).toBe(whole!.completion.slice(0, whole!.completion.indexOf(stop)))
    expect(cut!.finish).toBe('stop')
    expect(cut!.tokens).toBeLessThan(whole!.tokens)
    expect(cut!.logprobs!.length).toBe(cut!.tokens)
    for (const logprob of cut!.logprobs!) expect(logprob).toBeLessThan(0)
  })

  it('gives the prompts after those that are answered already what they would have got among all', async () => {
    const settings = { prompt: ['one', 'two', 'three', 'four'], greedy: false }
    const all = await repliesOf(settings)
    const rest: Reply[] = []
    const resolved = generateOptions.parse({ model: plain, maxTokens: 12, precision: 'float32', ...settings })
    for await (const reply of generate(resolved, { skip: 2 })) rest.push(reply)
    expect(rest).toEqual(all.slice(2))
  })

  it('reads prompts from a file: texts, feedback, blank lines', async () => {
    const given = completions(await repliesOf({ prompt: ['one', 'two'] }))
    const prompts = promptFile({ prompt: 'one', id: 7 }, '', { prompt: 'two', completion: 'x', label: 'thumbs up' })
    expect(completions(await repliesOf({ prompts }))).toEqual(given)
  })

  it('puts texts through the chat template of a model that has one, as what the user says', async () => {
    const messages = [{ role: 'user', content: 'one' }]
    const judged = [...messages, { role: 'assistant', content: 'judged, so left out' }]
    const prompts = promptFile({ prompt: messages }, { messages }, { messages: judged })
    const [expected, ...others] = completions(await repliesOf({ model: chat, prompts }))
    expect(others).toEqual([expected, expected])
    expect(completions(await repliesOf({ model: chat, prompt: 'one' }))).toEqual([expected])
    const written = '<s>user: one\nassistant: '
    expect(completions(await repliesOf({ model: chat, prompt: written, chat: false }))).toEqual([expected])
  })

  it('shows the chat template the tools that a row has', async () => {
    const withTools = writeTinyModel(join(folder, 'tools'))
    const shown = "{{ '<s>' }}{% for t in tools or [] %}{{ t.function.name + ';' }}{% endfor %}"
    writeByteTokenizer(withTools, { chat_template: shown + template })
    const prompt = [{ role: 'user', content: 'one' }]
    const tools = [{ type: 'function', function: { name: 'weather', parameters: {} } }]
    const [given] = completions(await repliesOf({ model: withTools, prompts: promptFile({ prompt, tools }) }))
    const written = promptFile({ prompt: '<s>weather;<s>user: one\nassistant: ' })
    const plainText = completions(await repliesOf({ model: withTools, prompts: written, chat: false }))
    const [without] = completions(await repliesOf({ model: withTools, prompts: promptFile({ prompt }) }))
    expect([given]).toEqual(plainText)
    expect(without).not.toEqual(given)
  })

  it('says which prompt cannot be answered, and why', async () => {
    const messages = [{ role: 'user', content: 'one' }]
    const failing = (rows: (object | string)[], options: Partial<GenerateOptions> = {}) =>
      expect(repliesOf({ prompts: promptFile(...rows), ...options })).rejects
    const row = { prompt: 'one' }
    await failing([row, '{"prompt": ']).toThrow(/prompts\.jsonl:2: not JSON/)
    await failing([row, { text: 'one' }]).toThrow(/prompts\.jsonl:2: neither prompt nor messages; the row has text/)
    await failing([row, { prompt: 7 }]).toThrow(/prompts\.jsonl:2: prompt must be a text or a list of messages, got 7/)
    await failing([row, ['one']]).toThrow(/prompts\.jsonl:2: expected an object with prompt or messages, got \["one"\]/)
    await failing([]).toThrow(/prompts\.jsonl: no prompts/)
    await failing([row, { messages }]).toThrow(/prompts\.jsonl:2: the model has no chat template/)
    await failing([row], { chat: true }).toThrow(/prompts\.jsonl:1: --chat is set, but the model has no chat template/)
    await failing([row, { messages }], { model: chat, chat: false }).toThrow(/prompts\.jsonl:2: --no-chat is set/)
    await failing([row, { prompt: 'x'.repeat(511) }]).toThrow(
      /prompts\.jsonl:2: the prompt has 512 tokens, but the model sees 512 at most/,
    )
    await expect(repliesOf({ prompt: 'x'.repeat(511) })).rejects.toThrow(/^--prompt: the prompt has 512 tokens/)
    await expect(repliesOf({ prompts: join(folder, 'none.jsonl') })).rejects.toThrow(/none\.jsonl: no such file/)
  })

  it('ends replies where the context of the model ends, and says so', async () => {
    const lines: string[] = []
    const progress = { start: () => ({ update() {}, stop() {} }), log: (line: string) => void lines.push(line) }
    const [reply] = await repliesOf({ prompt: 'x'.repeat(505) }, progress)
    expect(reply).toMatchObject({ tokens: 6, finish: 'length' })
    expect(lines.join('\n')).toContain('1 of 1 prompts leave fewer than --max-tokens 12')
  })

  it('counts replies and weights in bars, and replies not where they are printed', async () => {
    const bars = async (printed: boolean) => {
      const labels: string[] = []
      const start = (_total: number, label: string) => {
        labels.push(label)
        return { update() {}, stop() {} }
      }
      const options = generateOptions.parse({ model: plain, prompt: 'one', maxTokens: 2 })
      for await (const _ of generate(options, { printed, progress: { start, log() {} } }));
      return labels
    }
    expect(await bars(false)).toEqual(['replies', 'weights (MB)'])
    expect(await bars(true)).toEqual(['weights (MB)'])
  })

  it('computes in bf16 where that is asked for', async () => {
    const [reply] = await repliesOf({ prompt: 'one', precision: 'bf16' })
    expect(reply!.tokens).toBeGreaterThan(0)
  })

  it('leaves no tensors behind, where it is abandoned too', async () => {
    await repliesOf({ prompt: ['one', 'two'], precision: 'bf16' })
    const before = liveTensors()
    await repliesOf({ prompt: ['one', 'two'], precision: 'bf16' })
    expect(liveTensors()).toBe(before)
    const options = generateOptions.parse({ model: plain, prompt: ['one', 'two'], maxTokens: 4 })
    for await (const _ of generate(options)) break
    expect(liveTensors()).toBe(before)
  })
})
