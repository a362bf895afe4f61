import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { finalAnswer } from '../../src/evaluate/judge.ts'
import { defaultJudgePrompt, winnerIn } from '../../src/evaluate/judge-endpoint.ts'
import type { Judgement } from '../../src/evaluate/judgement.ts'
import { judgementsMade } from '../../src/evaluate/made.ts'
import { type WinRateOptions, winRateOptions } from '../../src/evaluate/options.ts'
import { evaluateWinRate } from '../../src/evaluate/winrate.ts'
import { train } from '../../src/index.ts'
import { liveTensors } from '../../src/tensor/scope.ts'
import { type Asked, type Fault, fakeEndpoint } from '../fake-endpoint.ts'
import { writeTinyModel } from '../tiny-model.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-winrate-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function write(name: string, rows: readonly object[]): string {
  const file = join(folder, name)
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  return file
}

const count = 60
/** On prompt i the candidate is good where i % 3 is not 0. */
const isGood = (i: number) => i % 3 !== 0
function files() {
  const prompts = Array.from({ length: count }, (_, i) => `question ${i}?`)
  const candidate = write(
    'new.jsonl',
    prompts.map((prompt, i) => ({ prompt, completion: isGood(i) ? `GOOD ${i}` : `BAD ${i}` })),
  )
  const baseline = write(
    'old.jsonl',
    prompts.map((prompt, i) => ({ prompt, completion: `FAIR ${i}` })),
  )
  return { candidate, baseline, output: join(folder, 'out') }
}

/** What a judge that knows good from bad says, whichever is first. */
function verdict({ messages }: Asked): string {
  const text = messages[0]!.content
  const quality = (response: number) =>
    ['BAD', 'FAIR', 'GOOD'].indexOf(new RegExp(`Response ${response}: (\\w+)`).exec(text)![1]!)
  return quality(1) > quality(2) ? 'Response 1' : 'Response 2'
}

const evaluate = (options: Partial<WinRateOptions>) =>
  evaluateWinRate(winRateOptions.parse({ ...files(), judgeModel: 'judge', timeout: 0.4, ...options } as WinRateOptions))

const judgements = (): Judgement[] =>
  readFileSync(join(folder, 'out/judgements.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test('an adapter is put on the candidate and taken off for the baseline, with weights read once', async () => {
  const model = writeTinyModel(join(folder, 'model'))
  const rows = write(
    'rows.jsonl',
    Array.from({ length: 24 }, (_, i) => ({
      prompt: `q${i % 6}`,
      completion: i % 2 ? 'aaaa' : 'zzzz',
      label: i % 2 === 1,
    })),
  )
  const shared = { cache: join(folder, 'cache'), samples: { prompts: 0 }, precision: 'float32' } as const
  const run = await train({
    ...shared,
    model,
    data: rows,
    output: join(folder, 'run'),
    adapter: { type: 'lora' },
    loss: { type: 'sft' },
    epochs: 20,
    optimizer: { learningRate: 3e-2 },
  })
  const adapter = (await run.finished).model!
  const prompts = write('prompts.jsonl', [{ prompt: 'q1' }, { prompt: 'q2' }, { prompt: 'q3' }])
  const judge = join(folder, 'judge.mjs')
  writeFileSync(judge, 'export default ({ completion }) => (/^a+$/.test(completion) ? 1 : 0)\n')
  let reads = 0
  const start = (_total: number, label: string) => {
    if (label.startsWith('weights')) reads++
    return { update() {}, stop() {} }
  }
  const options = { candidate: model, adapter, baseline: model, prompts, judge, maxTokens: 4, temperature: 0.1 }
  const output = join(folder, 'models')
  const before = liveTensors()
  const report = await evaluateWinRate(winRateOptions.parse({ ...options, output }), { progress: { start, log() {} } })
  expect(liveTensors()).toBe(before)
  expect(reads).toBe(1)
  expect(report).toMatchObject({ wins: 3, losses: 0 })
  const alone = { ...options, candidate: adapter, adapter: undefined, output: join(folder, 'alone') }
  expect(await evaluateWinRate(winRateOptions.parse(alone))).toMatchObject({ wins: 3, losses: 0 })
  const file = winRateOptions.parse({ ...options, candidate: rows })
  await expect(evaluateWinRate(file)).rejects.toThrow(/--adapter: .*rows\.jsonl is a file of replies/)
})

describe('a judge behind an endpoint', () => {
  test('is shown both replies in a drawn order and its verdict goes to the right side', async () => {
    const server = await fakeEndpoint(verdict)
    const report = await evaluate({ judge: server.url })
    expect(report).toMatchObject({
      comparisons: count,
      wins: 40,
      ties: 0,
      losses: 20,
      verdict: 'better',
      undecided: 0,
      unjudged: 0,
    })
    const firsts = judgements().filter(({ first }) => first === 'candidate').length
    expect(firsts).toBeGreaterThan(15)
    expect(firsts).toBeLessThan(45)
    expect(server.requests[0]!.messages[0]!.content).toContain('more helpful, harmless, and concise')
    expect(server.requests[0]!.body).toMatchObject({ model: 'judge', temperature: 0 })
    await server.close()
  })

  test('whose taste is the first reply only: half the points, and ties where it is asked both ways round', async () => {
    const server = await fakeEndpoint(() => 'Response 1')
    expect((await evaluate({ judge: server.url })).verdict).toBe('no evidence')
    const both = await evaluate({ judge: server.url, order: 'both' })
    expect(both).toMatchObject({ comparisons: count, wins: 0, ties: count, losses: 0 })
    await server.close()
  })

  test('that fails in every way: each judgement is there once, and the result is that of one that never fails', async () => {
    const faults: Fault[] = [429, 500, 'hang', 'cut', 'reset', 'garbage', 'empty', 503]
    const failed = new Map<string, number>()
    const server = await fakeEndpoint(verdict, ({ messages }, request) => {
      const text = messages[0]!.content
      const times = failed.get(text) ?? 0
      if (times >= 2) return null // each request fails twice, each time in another way
      failed.set(text, times + 1)
      return faults[request % faults.length]!
    })
    const report = await evaluate({ judge: server.url, concurrency: 16 })
    expect(report).toMatchObject({ comparisons: count, wins: 40, losses: 20, unjudged: 0 })
    const keys = judgements().map(({ key }) => key)
    expect(new Set(keys).size).toBe(count)
    expect(keys.length).toBe(count)
    await server.close()
  })

  test('that breaks down: what it judged stays, is not asked again, and the rest is added', async () => {
    let broken = true
    const server = await fakeEndpoint(verdict, (_, request) => (broken && request >= 25 ? 400 : null))
    await expect(evaluate({ judge: server.url, concurrency: 4 })).rejects.toThrow(/400/)
    const before = judgements()
    expect(before.length).toBe(25)
    const file = join(folder, 'out/judgements.jsonl')
    writeFileSync(file, readFileSync(file, 'utf8').slice(0, -15)) // and it was killed while it wrote
    broken = false
    const asked = server.requests.length
    const report = await evaluate({ judge: server.url })
    expect(report).toMatchObject({ comparisons: count, wins: 40, losses: 20 })
    expect(server.requests.length - asked).toBe(count - 24)
    expect(judgements().slice(0, 24)).toEqual(before.slice(0, 24))
    expect(await evaluate({ judge: server.url })).toEqual(report)
    expect(server.requests.length - asked).toBe(count - 24)
    await server.close()
  })

  test('that talks nonsense is asked again, and then counted for neither side', async () => {
    const server = await fakeEndpoint((asked, request) =>
      asked.messages[0]!.content.includes('question 7?')
        ? 'I like turtles'
        : request < 9 && request % 2
          ? 'hm'
          : verdict(asked),
    )
    const report = await evaluate({ judge: server.url, concurrency: 1 })
    expect(report).toMatchObject({ comparisons: count - 1, undecided: 1, unjudged: 0, wins: 39, losses: 20 })
    expect(judgements().filter(({ winner }) => winner === null)).toMatchObject([{ raw: 'I like turtles' }])
    await server.close()
  })

  test('is not asked beyond the cost limit, and goes on with a higher one', async () => {
    const server = await fakeEndpoint(verdict)
    const prices = { inputPrice: 1000, outputPrice: 10_000 } // 0.2 dollars a judgement
    const report = await evaluate({ judge: server.url, maxCost: 4.05, ...prices })
    expect(report).toMatchObject({ stopped: 'cost', comparisons: 20, unjudged: 40 })
    expect(report.cost).toBeCloseTo(4, 6)
    expect(server.requests.length).toBe(20)
    expect(await evaluate({ judge: server.url, maxCost: 4.05, ...prices })).toMatchObject({
      stopped: 'cost',
      comparisons: 20,
    })
    const whole = await evaluate({ judge: server.url, maxCost: 100, ...prices })
    expect(whole).toMatchObject({ stopped: null, comparisons: count, unjudged: 0 })
    expect(whole.cost).toBeCloseTo(12, 6)
    expect(server.requests.length).toBe(count)
    await server.close()
  })

  test('stops at Ctrl-C with what it has', async () => {
    const stop = new AbortController()
    const server = await fakeEndpoint((asked, request) => {
      if (request === 10) stop.abort(new Error('enough'))
      return verdict(asked)
    })
    const options = winRateOptions.parse({ ...files(), judge: server.url })
    await expect(evaluateWinRate(options, { signal: stop.signal })).rejects.toThrow('enough')
    expect(judgements().length).toBeGreaterThan(0)
    expect(judgements().length).toBeLessThan(25)
    await server.close()
  })
})

test.each([
  ['Response 1', 'first'],
  ['response 2 is better than Response 1', 'second'],
  ['Tie', 'tie'],
  ['Both are equally good', 'tie'],
  ['2', 'second'],
  ['I would pick the former.', null],
  ['Response 3', null],
])('the verdict of %j is %s', (text, winner) => {
  expect(winnerIn(text)).toBe(winner)
})

test("a reply that holds the template's own fields is shown as it is", async () => {
  const prompts = write('p.jsonl', [{ prompt: 'q', completion: 'FAIR {first}' }])
  const candidate = write('c.jsonl', [{ prompt: 'q', completion: 'GOOD {second} $& {prompt}' }])
  const server = await fakeEndpoint(verdict)
  await evaluate({ judge: server.url, candidate, baseline: undefined, prompts })
  expect(server.requests[0]!.messages[0]!.content).toContain('GOOD {second} $& {prompt}')
  await server.close()
  expect(defaultJudgePrompt).toContain('{first}')
})

describe("a judge of the user's own", () => {
  const scores = 'GOOD,FAIR,BAD'
  test.each(['mjs', 'ts'])('a module, .%s', async (kind) => {
    const type = kind === 'ts' ? ': { completion: string }' : ''
    const judge = join(folder, `judge.${kind}`)
    writeFileSync(
      judge,
      `export default async ({ completion }${type}) => -'${scores}'.split(',').indexOf(completion.split(' ')[0])\n`,
    )
    expect(await evaluate({ judge })).toMatchObject({ wins: 40, losses: 20 })
  })

  test('an executable that speaks JSONL, out of order', async () => {
    const judge = join(folder, 'judge.py')
    writeFileSync(
      judge,
      `#!/usr/bin/env python3\nimport json, sys\nheld = []\nfor line in sys.stdin:\n    row = json.loads(line)\n    held.append({"id": row["id"], "score": -"${scores}".split(",").index(row["completion"].split()[0])})\n    if len(held) == 2:\n        for one in reversed(held): print(json.dumps(one), flush=True)\n        held = []\n`,
    )
    chmodSync(judge, 0o755)
    expect(await evaluate({ judge })).toMatchObject({ wins: 40, losses: 20 })
  })

  test('that breaks says how', async () => {
    const judge = join(folder, 'judge.sh')
    writeFileSync(judge, '#!/bin/sh\nread line\necho nonsense\nsleep 1\n')
    await expect(evaluate({ judge })).rejects.toThrow(/neither a module .* nor executable: chmod \+x/)
    chmodSync(judge, 0o755)
    await expect(evaluate({ judge })).rejects.toThrow(/judge\.sh: its line "nonsense" is no \{"id", "score"\}/)
    writeFileSync(judge, '#!/bin/sh\nexit 3\n')
    await expect(evaluate({ judge })).rejects.toThrow(/judge\.sh: it ended with 3/)
    const module = join(folder, 'judge.mjs')
    writeFileSync(module, 'export default () => "high"\n')
    await expect(evaluate({ judge: module })).rejects.toThrow(/a score must be a number, got "high"/)
    await expect(evaluate({ judge: join(folder, 'none.mjs') })).rejects.toThrow(/none\.mjs: no such file/)
  })
})

test('final answers, as GSM8K grades them', async () => {
  expect(finalAnswer('3 + 4 = 7\n#### 1,234')).toBe('1234')
  expect(finalAnswer('so it is $18.50.')).toBe('18.5')
  expect(finalAnswer('none')).toBeNull()
  const rows = Array.from({ length: 10 }, (_, i) => ({ prompt: `q${i}`, answer: `because\n#### ${i}` }))
  const prompts = rows.map(({ prompt }) => prompt)
  const candidate = write(
    'c.jsonl',
    rows.map((row, i) => ({ ...row, completion: i < 8 ? `is ${i}` : 'is 77' })),
  )
  const baseline = write(
    'b.jsonl',
    prompts.map((prompt, i) => ({ prompt, completion: i < 3 ? `it is ${i}.0` : 'no idea' })),
  )
  const report = await evaluate({ judge: 'exact', candidate, baseline })
  expect(report.exact).toMatchObject({ candidate: { successes: 8, total: 10 }, baseline: { successes: 3 } })
  expect(report).toMatchObject({ wins: 5, ties: 5, losses: 0 })

  const bare = write(
    'bare.jsonl',
    prompts.map((prompt, i) => ({ prompt, completion: `it is ${i + 1}` })),
  )
  await expect(evaluate({ judge: 'exact', candidate: bare, baseline })).rejects.toThrow(/no right answer/)
  const asked = write('asked.jsonl', rows)
  expect(await evaluate({ judge: 'exact', candidate: bare, baseline, prompts: asked })).toMatchObject({ losses: 3 })
})

test('a model that was trained again answers again', async () => {
  const model = writeTinyModel(join(folder, 'model'))
  const judge = join(folder, 'judge.mjs')
  writeFileSync(judge, 'export default ({ completion }) => completion.length\n')
  const prompts = write('asked.jsonl', [{ prompt: 'hello', completion: 'x' }])
  const options = { candidate: model, prompts, judge, output: join(folder, 'out'), maxTokens: 12 }
  const replies = () => readdirSync(join(folder, 'out')).filter((name) => name.startsWith('candidate-'))
  await evaluateWinRate(winRateOptions.parse(options))
  await evaluateWinRate(winRateOptions.parse(options))
  expect(replies()).toHaveLength(1)
  writeTinyModel(join(folder, 'model'), 1)
  await evaluateWinRate(winRateOptions.parse(options))
  expect(replies()).toHaveLength(2)
  await evaluateWinRate(winRateOptions.parse({ ...options, loadIn: '4bit' })) // and so does one that is stored in other ways
  expect(replies()).toHaveLength(3)
})

test('reads the samples of HALOs, and pairs files that are in another order', async () => {
  const samples = Array.from({ length: 6 }, (_, i) => ({
    prompt: `p${i}`,
    policy: isGood(i) ? 'GOOD' : 'BAD',
    chosen: 'FAIR',
  }))
  const file = join(folder, 'sft_llama7b.json')
  writeFileSync(file, JSON.stringify({ config: { exp_name: 'x' }, samples }))
  const server = await fakeEndpoint(verdict)
  expect(await evaluate({ judge: server.url, candidate: file, baseline: file })).toMatchObject({ wins: 4, losses: 2 })
  const reversed = write('r.jsonl', samples.map(({ prompt, chosen }) => ({ prompt, completion: chosen })).reverse())
  expect(await evaluate({ judge: server.url, candidate: file, baseline: reversed })).toMatchObject({
    wins: 4,
    losses: 2,
  })
  const other = write('o.jsonl', [{ prompt: 'another', completion: 'FAIR' }])
  await expect(evaluate({ judge: server.url, candidate: file, baseline: other })).rejects.toThrow(
    /which no reply of the baseline answers/,
  )
  await server.close()
})

test("reads HALOs' results, and judgements of its own", async () => {
  // The first row of assets/results.jsonl in the KTO authors' repository, lengths and config shortened: .027 in their table.
  const halos = write('results.jsonl', [
    {
      ...{ total: 512, seed: 0, exp_name: 'archangel_unaligned_pythia1-4b', judge: 'gpt-4-0613' },
      candidate: { name: 'policy', wins: 14, lengths: [1153] },
      baseline: { name: 'chosen', wins: 484, lengths: [10] },
    },
  ])
  const [unaligned] = judgementsMade(halos)
  expect(unaligned).toMatchObject({ wins: 14, losses: 484, ties: 0, undecided: 14, verdict: 'worse' })
  expect(unaligned!.winsOfAll.share).toBeCloseTo(0.027, 3)
  expect(unaligned!.decided.total).toBe(498)

  const server = await fakeEndpoint(verdict)
  const report = await evaluate({ judge: server.url })
  await server.close()
  const [own] = judgementsMade(report.judgements)
  expect(own).toMatchObject({ wins: report.wins, losses: report.losses, signTest: report.signTest })

  // Ten replies to each of two prompts are two pieces of evidence.
  const look = (prompt: string, i: number) => ({
    judge: 'j',
    prompt,
    candidate: `${prompt}${i}`,
    baseline: 'b',
    winner: 'candidate',
  })
  const looks = ['p', 'q'].flatMap((prompt) => Array.from({ length: 10 }, (_, i) => look(prompt, i)))
  const [few] = judgementsMade(write('looks.jsonl', looks))
  expect(few).toMatchObject({ total: 2, wins: 2, verdict: 'no evidence', signTest: 0.5 })

  // Looked at in both orders, two replies are one comparison still.
  const twice = await fakeEndpoint(() => 'Response 1')
  const turning = await evaluate({ judge: twice.url, order: 'both', output: join(folder, 'turning') })
  await twice.close()
  const [both] = judgementsMade(turning.judgements)
  expect(both).toMatchObject({ total: turning.comparisons, ties: turning.ties, wins: 0, losses: 0 })
  expect(turning.ties).toBe(turning.comparisons)

  const nonsense = write('nonsense.jsonl', [{ a: 1 }])
  expect(() => judgementsMade(nonsense)).toThrow(/nonsense.jsonl:1: neither a judgement/)
})
