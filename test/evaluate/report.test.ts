import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeReport } from '../../src/evaluate/report/report.ts'
import { valueCurve } from '../../src/evaluate/report/value-curve.ts'
import { finding } from '../../src/evaluate/report/verdict.ts'
import { train } from '../../src/index.ts'
import type { DataFacts } from '../../src/train/prepare.ts'
import type { Evaluation } from '../../src/train/run.ts'
import { writeTinyModel } from '../tiny-model.ts'

let folder: string
let run: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-report-'))
  run = join(folder, 'run')
  const rows = Array.from({ length: 80 }, (_, i) => ({
    prompt: `<b>q${i % 20}</b>`,
    completion: i % 2 ? 'aaaa' : 'zzzz',
    label: i % 2 === 1,
  }))
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const started = await train({
    model: writeTinyModel(join(folder, 'model')),
    data: join(folder, 'rows.jsonl'),
    output: run,
    cache: join(folder, 'cache'),
    epochs: 4,
    batchSize: 8,
    optimizer: { learningRate: 3e-3 },
    evaluation: { split: 0.3, every: 10 },
    samples: { prompts: 2, maxTokens: 12 },
    precision: 'float32',
  })
  await started.finished
})
afterAll(() => rmSync(folder, { recursive: true }))

const report = () => readFileSync(join(run, 'report.html'), 'utf8')

test('a finished run has a report: the verdict first, then all that led to it', () => {
  const html = report()
  expect(html.indexOf('class="verdict better"')).toBeGreaterThan(0)
  expect(html.indexOf('class="verdict better"')).toBeLessThan(html.indexOf('<h2>'))
  for (const title of [
    'Held-out rows',
    'Curves',
    'Value function',
    'Replies to the same prompts',
    'Data',
    'Alarms',
    'Go on',
    'Configuration',
  ])
    expect(html).toContain(title)
  expect(html).toContain('&#60;b&#62;q') // what rows hold is shown, never run
  expect(html).not.toContain('<b>')
  expect(html).toContain(`prospect generate --model ${join(run, 'model')}`)
})

test('it is written again by itself, of a run that has not ended too, and from what a copy holds', async () => {
  const before = report()
  await writeReport(run)
  expect(report()).toBe(before)
  rmSync(join(run, 'evaluation.jsonl'))
  await writeReport(run)
  expect(report()).toContain('No rows were held out')
  await expect(writeReport(folder)).rejects.toThrow(/is no run directory: it has no config.yaml/)
  writeFileSync(join(run, 'report.html'), before)
})

describe('the verdict', () => {
  const facts = (desirable: number, undesirable: number, prompts = desirable + undesirable) =>
    ({ heldOut: { desirable, undesirable, prompts } }) as DataFacts
  const evaluation = (areaUnderCurve: number | null, loss = 1) =>
    ({ rows: 100, loss, rewards: null, areaUnderCurve }) as Evaluation
  const of = (area: number | null, rows = 50) =>
    finding(evaluation(0.5), evaluation(area), facts(rows, rows), null).verdict

  test('goes by what the interval excludes', () => {
    expect([of(0.9), of(0.55), of(0.5), of(0.2)]).toEqual(['better', 'no evidence', 'no evidence', 'worse'])
    expect([of(0.7, 4), of(0.7, 200)]).toEqual(['no evidence', 'better'])
    const fewPrompts = finding(evaluation(0.5), evaluation(0.7), facts(200, 200, 8), null)
    expect(fewPrompts.verdict).toBe('no evidence') // rows of one prompt are not independent
  })
  test('is withheld where only the loss is known, or nothing', () => {
    expect(of(null)).toBe('no evidence')
    expect(finding(null, null, null, null).because).toContain('No rows were held out')
  })
  test('is withheld where rewards told thumbs apart before the first step, as those without a reference do', () => {
    const { verdict, because } = finding(evaluation(0.72), evaluation(0.95), facts(200, 200), null)
    expect(verdict).toBe('no evidence')
    expect(because).toMatch(/95\.0 % of all pairs, and had in 72\.0 %/)
  })
  test("is a judge's where there is one", () => {
    const judged = {
      verdict: 'worse',
      rate: { value: 0.3, low: 0.2, high: 0.4 },
      wins: 30,
      ties: 0,
      losses: 70,
      judge: 'j',
      signTest: 1e-4,
      baseline: 'b',
    }
    expect(finding(evaluation(0.5), evaluation(0.9), facts(50, 50), judged as never)).toMatchObject({
      verdict: 'worse',
      because: expect.stringContaining('30.0 %'),
    })
  })
})

test('the value function is that of the objective: 0 at z0, saturating for KTO, none for pairs', () => {
  const kto = valueCurve({ type: 'kto', beta: 0.1 }, 100)!
  expect(kto.desirable[60]).toBe(0)
  expect(kto.desirable[120]).toBeCloseTo(1 / (1 + Math.exp(-10)) - 0.5, 5)
  expect(kto.undesirable[120]).toBeCloseTo(-kto.desirable[120]!, 5)
  expect(valueCurve({ type: 'dpo' }, 10)).toBeNull()
})

const browserPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
)
if (!browserPath)
  console.log('skipped: the report in a browser, since no Chromium is installed (apt-get install chromium)')

describe.skipIf(!browserPath)('in a browser, offline', () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: browserPath!, args: ['--no-sandbox'] })
  }, 60_000)
  afterAll(() => browser?.close())

  test.each([
    ['phone', 360, 740],
    ['desktop', 1280, 900],
  ])(
    'on a %s: no errors, nothing loaded, nothing wider than the screen, charts drawn',
    async (name, width, height) => {
      const page = await browser.newPage({ viewport: { width, height }, offline: true })
      const problems: string[] = []
      page.on('console', (message) => problems.push(message.text()))
      page.on('pageerror', (error) => problems.push(error.message))
      page.on('request', (request) => {
        if (!/^(file|data):/.test(request.url())) problems.push(request.url())
      })
      await page.goto(pathToFileURL(join(run, 'report.html')).href)
      expect(problems).toEqual([])
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
      expect(await page.locator('svg').count()).toBeGreaterThanOrEqual(5)
      expect(await page.locator('.verdict').boundingBox()).toMatchObject({ y: expect.closeTo(80, -2) }) // in sight at once
      const smallest = await page.evaluate(
        "Math.min(...[...document.querySelectorAll('p,td,th,pre')].map((e) => parseFloat(getComputedStyle(e).fontSize)))",
      )
      expect(smallest).toBeGreaterThanOrEqual(12)
      const inCharts = await page.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')].map((e) => e.getBoundingClientRect().height))",
      )
      expect(inCharts).toBeGreaterThanOrEqual(11) // the height of a line: of the font itself 9 to 10
      if (process.env.PROSPECT_SCREENSHOTS)
        await page.screenshot({ path: join(process.env.PROSPECT_SCREENSHOTS, `report-${name}.png`), fullPage: true })
      await page.close()
    },
    60_000,
  )
  test('is small', () => expect(statSync(join(run, 'report.html')).size).toBeLessThan(2_000_000))
})
