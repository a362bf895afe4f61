import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makePlan, type PlannedBatch } from '../../src/data/plan.ts'
import { shareOfRank } from '../../src/data/ranks.ts'
import { TokenStore } from '../../src/data/store.ts'
import type { Example } from '../../src/data/types.ts'
import { writeByteTokenizer } from '../tiny-model.ts'

const noTokens = () => {
  throw new Error('the plan looked at tokens')
}

/** Examples whose tokens nobody may look at: what plans and shares see of them. */
function examplesOf(count: number, pairs: boolean): Example[] {
  return Array.from({ length: count }, (_, index) => ({
    index,
    promptGroup: index >> 1,
    completionGroup: index,
    get prompt() {
      return noTokens()
    },
    get completion() {
      return noTokens()
    },
    desirable: index % 2 === 0,
    origin: { file: 'test', line: index + 1 },
    ...(pairs && { pair: index >> 1 }),
  }))
}

const options = { seed: 3, epochs: 2, batchSize: 10, mismatched: true }

/** Every step's parts put together again: what all ranks take. */
function taken(plan: { steps: number; batch(step: number): PlannedBatch }, ranks: number, pairs: boolean, from = 0) {
  return Array.from({ length: plan.steps - from }, (_, i) => {
    const parts = Array.from({ length: ranks }, (_, rank) => shareOfRank(plan.batch(from + i), rank, ranks, { pairs }))
    const sizes = parts.map(({ rows }) => rows.length)
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(pairs ? 2 : 1)
    return {
      epoch: parts[0]!.epoch,
      rows: parts.flatMap(({ rows }) => rows),
      partners: parts.flatMap(({ partners }) => partners),
      mismatches: parts.flatMap(({ mismatches }) => mismatches),
    }
  })
}

test.each([
  [1, false],
  [2, false],
  [4, false],
  [1, true],
  [2, true],
  [4, true],
])(
  '%i ranks take the plan of one process, byte for byte, from the beginning and after a resume (pairs: %s)',
  (ranks, pairs) => {
    const plan = makePlan({ examples: examplesOf(54, pairs), ...options, pairs })
    const whole = Array.from({ length: plan.steps }, (_, step) => plan.batch(step))
    expect(JSON.stringify(taken(plan, ranks, pairs))).toBe(JSON.stringify(whole))
    const resumed = makePlan({ examples: examplesOf(54, pairs), ...options, pairs })
    expect(JSON.stringify(taken(resumed, ranks, pairs, 7))).toBe(JSON.stringify(whole.slice(7)))
  },
)

test('the halves of a pair go to one rank', () => {
  const plan = makePlan({ examples: examplesOf(54, true), ...options, pairs: true })
  for (let step = 0; step < plan.steps; step++)
    for (const rank of [0, 1, 2, 3]) {
      const { rows } = shareOfRank(plan.batch(step), rank, 4, { pairs: true })
      expect(rows.map((row) => row >> 1).filter((pair, _, all) => all.indexOf(pair) === all.lastIndexOf(pair))).toEqual(
        [],
      )
    }
})

test('a rank that is none is refused', () => {
  const plan = makePlan({ examples: examplesOf(4, false), ...options })
  expect(() => shareOfRank(plan.batch(0), 2, 2)).toThrow('rank 2 of 2')
})

interface RankReport {
  cached: boolean
  planned: number
  steps: { share: PlannedBatch; tokens: [string, string][]; partners: (string | false)[] }[]
  looked: { prompt: number[]; completion: number[] }
}

describe('processes that share one token cache', () => {
  let folder: string
  const rowCount = 240
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'prospect-ranks-'))
    writeByteTokenizer(folder)
    const row = (i: number) => ({
      prompt: `${i} `.repeat(300),
      completion: `word ${i} `.repeat(180),
      label: i % 2 === 0,
    })
    writeFileSync(
      join(folder, 'rows.jsonl'),
      Array.from({ length: rowCount }, (_, i) => `${JSON.stringify(row(i))}\n`).join(''),
    )
    await takenBy(0, 1, 0, 1)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

  /** What one process takes of so many steps from one on. */
  async function takenBy(
    rank: number,
    ranks: number,
    from: number,
    steps = 1000,
    cache = 'cache',
  ): Promise<RankReport> {
    const args = ['../../dist', folder, join(folder, 'rows.jsonl'), join(folder, cache), from, steps].map(String)
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [path('./rank-process.mjs'), path(args[0]!), ...args.slice(1)],
      { env: { ...process.env, RANK: String(rank), WORLD_SIZE: String(ranks) }, maxBuffer: 1 << 26 },
    )
    return JSON.parse(stdout) as RankReport
  }
  const all = (ranks: number, from: number, steps = 1000, cache?: (rank: number) => string) =>
    Promise.all(Array.from({ length: ranks }, (_, rank) => takenBy(rank, ranks, from, steps, cache?.(rank))))

  /** The shares of all ranks put together, tokens and all, step by step. */
  const union = (reports: RankReport[]) =>
    reports[0]!.steps.map((_, step) => {
      const parts = reports.map(({ steps }) => steps[step]!)
      return {
        rows: parts.flatMap(({ share }) => share.rows),
        partners: parts.flatMap(({ share }) => share.partners),
        mismatches: parts.flatMap(({ share }) => share.mismatches),
        tokens: parts.flatMap(({ tokens }) => tokens),
        partnerTokens: parts.flatMap(({ partners }) => partners),
      }
    })

  test('1, 2 and 4 take together what one takes, byte for byte, also after a resume in the middle', async () => {
    const [one] = (await all(1, 0)) as [RankReport]
    expect(one.steps).toHaveLength((2 * rowCount) / 16)
    const rowsOfEpoch = one.steps.slice(0, rowCount / 16).flatMap(({ share }) => share.rows)
    expect([...rowsOfEpoch].sort((a, b) => a - b)).toEqual(Array.from({ length: rowCount }, (_, i) => i))
    const whole = union([one])
    for (const ranks of [2, 4]) {
      expect(JSON.stringify(union(await all(ranks, 0)))).toBe(JSON.stringify(whole))
      expect(JSON.stringify(union(await all(ranks, 17)))).toBe(JSON.stringify(whole.slice(17)))
    }
  })

  test('a rank looks at the tokens of its rows and of their partners, and at no others', async () => {
    const reports = await all(4, 5, 1)
    for (const { cached, looked, steps } of reports) {
      const { rows, partners } = steps[0]!.share
      const sorted = (values: Iterable<number>) => [...new Set(values)].sort((a, b) => a - b)
      expect(cached).toBe(true)
      expect(looked.prompt).toEqual(sorted(rows))
      expect(looked.completion).toEqual(sorted([...rows, ...partners.map((row) => row!)]))
    }
    // The same again where every other token of the file is overwritten: what comes out does not depend on it.
    const [entry] = readdirSync(join(folder, 'cache/tokens')).filter((name) => /^[0-9a-f]{32}$/.test(name))
    for (const [rank, { looked }] of reports.entries()) {
      cpSync(join(folder, 'cache'), join(folder, `cache-${rank}`), { recursive: true })
      keepOnly(join(folder, `cache-${rank}/tokens`, entry!), looked)
    }
    const again = await all(4, 5, 1, (rank) => `cache-${rank}`)
    expect(JSON.stringify(union(again))).toBe(JSON.stringify(union(reports)))
    const [other] = (await all(1, 6, 1, () => 'cache-0')) as [RankReport]
    expect(JSON.stringify(union([other]))).not.toBe(JSON.stringify(union(await all(1, 6, 1)))) // the overwriting is seen where it is read
  })

  /** Overwrites all tokens of a cache entry but those of some rows. */
  function keepOnly(entry: string, { prompt, completion }: RankReport['looked']): void {
    const store = new TokenStore(entry)
    const tokens = readFileSync(join(entry, 'tokens.bin'))
    const kept = Buffer.alloc(tokens.length, 0xff)
    const keep = ({ byteOffset, byteLength }: Int32Array) =>
      tokens.copy(kept, byteOffset, byteOffset, byteOffset + byteLength)
    for (const row of prompt) keep(store.prompt(row))
    for (const row of completion) keep(store.completion(row))
    rmSync(join(entry, 'tokens.bin')) // the store above still has the old file in memory
    writeFileSync(join(entry, 'tokens.bin'), kept)
  }
})
