import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { validate } from '../../src/options/validate.ts'
import { plotOptions } from '../../src/plot/options.ts'
import { plot } from '../../src/plot/plot.ts'
import { pngOf, svgOf } from '../../src/plot/render.ts'
import { runSvg } from '../../src/plot/run.ts'
import { curveOf, knownCurves, valueFunctionsSvg } from '../../src/plot/value.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-plot-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const options = (given: object) => validate(plotOptions, given)
const sigmoid = (z: number) => 1 / (1 + Math.exp(-z))

describe('value functions', () => {
  const known = (name: string) => knownCurves.find((curve) => curve.name.startsWith(name))!.value

  test('all pass through the reference point; shapes are those of the paper', () => {
    for (const { value } of knownCurves) expect(value(0)).toBeCloseTo(0, 12)
    const slope = (name: string, z: number) => (known(name)(z + 1e-4) - known(name)(z - 1e-4)) / 2e-4
    expect(slope('KTO', 9)).toBeLessThan(1e-3) // saturates for gains
    expect(slope('KTO', -9)).toBeLessThan(1e-3) // and for losses
    expect(slope('DPO', -9)).toBeCloseTo(1, 3) // losses never saturate
    expect(known('Kahneman')(-1) / known('Kahneman')(1)).toBeCloseTo(-2.25, 6) // loss aversion
    expect(known('SLiC')(5)).toBe(1)
    expect([known('PPO')(5), known('PPO')(-5)]).toEqual([0.5, -0.5])
  })

  test("a configured one is what the objective's own code gives", () => {
    const half = curveOf({ type: 'kto', beta: 0.5 })
    for (const z of [-3, 0, 0.7, 4]) expect(half.value(z)).toBeCloseTo(sigmoid(0.5 * z) - 0.5, 6)
    const dpo = curveOf({ type: 'dpo', beta: 1 })
    for (const z of [-3, 0, 0.7, 4]) expect(dpo.value(z)).toBeCloseTo(known('DPO')(z), 5)
    expect(curveOf({ type: 'kto', valueFunction: 'identity', beta: 1 }).value(-2)).toBeCloseTo(-2, 6)
    expect(() => curveOf({ type: 'sft' })).toThrow(/sft has no value function/)
  })

  test('without a reference, is one of log-probabilities', () => {
    const alone = curveOf({ type: 'kto', referenceFree: true, beta: 1 })
    for (const z of [-4, -1, 0, 0.7, 4]) expect(alone.value(z)).toBeCloseTo(sigmoid(z) - 0.5, 6)
    expect(alone.value(4)).toBeCloseTo(0.482, 4)
    const clamped = curveOf({ type: 'kto', referenceFree: true, humanline: true, beta: 1 })
    for (const [z, at] of [
      [-3, -1],
      [0.5, 0.5],
      [3, 1.5],
    ] as const)
      expect(clamped.value(z)).toBeCloseTo(sigmoid(at) - 0.5, 6)
  })

  test('of a pair without a reference ends where the chosen reply would be more than certain, unless differences alone count', () => {
    const logOdds = (logp: number) => logp - Math.log(1 - Math.exp(logp))
    const ratio = (z: number) => -Math.log1p(Math.exp(logOdds(-1) - logOdds(z - 1)))
    const orpo = curveOf({ type: 'orpo', oddsRatioWeight: 1 })
    for (const z of [-3, 0, 0.7]) expect(orpo.value(z)).toBeCloseTo(z + ratio(z) - ratio(0), 5)
    for (const z of [1.01, 2, 4]) expect(orpo.value(z)).toBeNaN()
    const simpo = curveOf({ type: 'simpo', beta: 1, gammaBetaRatio: 0 })
    for (const z of [-3, 0.7, 4]) expect(simpo.value(z)).toBeCloseTo(known('DPO')(z), 5)
    expect(curveOf({ type: 'slic', sftWeight: 0 }).value(4)).toBeCloseTo(1, 6)
    for (const type of ['simpo', 'slic'] as const) expect(curveOf({ type, humanline: true }).value(2)).toBeNaN()
  })

  test('are drawn as far as they go', async () => {
    const svg = await valueFunctionsSvg({ losses: [{ type: 'orpo' }], known: false, range: 4 })
    const [, path] = /aria-roledescription="line mark" d="([^"]*)"/.exec(svg)!
    const last = Number(/L([\d.]+),[^L]*$/.exec(path!)![1])
    expect(last).toBeCloseTo((5 / 8) * 560, 0)
  })

  test('are drawn with their names, as SVG and as PNG', async () => {
    const svg = await valueFunctionsSvg({ losses: [{ type: 'kto', beta: 0.5 }] })
    for (const { name } of knownCurves) expect(svg).toContain(`>${name}</text>`)
    expect(svg).toContain('>kto, beta 0.5</text>')
    expect(svg.match(/aria-roledescription="line mark"/g)).toHaveLength(knownCurves.length + 1)
    const files = await plot('value', [], options({ output: join(folder, 'value') }))
    expect(files.map((file) => file.slice(folder.length))).toEqual(['/value.svg', '/value.png'])
    expect(readFileSync(files[0]!, 'utf8')).toMatch(/^<svg /)
  })
})

test('a PNG is as large as its scale says, and has the letters of its SVG', async () => {
  const chart = (title: string) =>
    svgOf({ title, width: 50, height: 20, data: { values: [{ x: 1 }] }, mark: 'point', encoding: {} })
  const svg = await chart('Mmm')
  const size = (png: Uint8Array) => [16, 20].map((at) => Buffer.from(png).readUInt32BE(at))
  const [width, height] = /width="(\d+)" height="(\d+)"/.exec(svg)!.slice(1).map(Number)
  expect(size(pngOf(svg, { scale: 3 }))).toEqual([3 * width!, 3 * height!])
  const without = svg.replaceAll('Mmm', '   ')
  expect(Buffer.compare(Buffer.from(pngOf(svg)), Buffer.from(pngOf(without)))).not.toBe(0)
})

describe('runs', () => {
  function writeRun(name: string, steps: number, more: object = {}): string {
    const path = join(folder, name)
    mkdirSync(path, { recursive: true })
    const lines = Array.from({ length: steps }, (_, i) => {
      const rewards = { chosen: i / 100, rejected: -i / 100, margin: i / 50, accuracy: 0.5 + i / (2 * steps) }
      const step = { step: i + 1, steps, epoch: 1, loss: 1 / (i + 1), rewards, logps: { chosen: -9, rejected: -9 } }
      return { ...step, kl: null, saturated: null, gradNorm: 1, learningRate: 1e-6, alarms: [], ...more }
    })
    writeFileSync(join(path, 'metrics.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    return path
  }

  test('one: a panel for each metric that it has', async () => {
    const svg = await runSvg([writeRun('alone', 30)])
    for (const title of ['loss', 'mean reward', 'reward margin', 'reward accuracy', 'learning rate'])
      expect(svg).toContain(`>${title}</text>`)
    expect(svg).not.toContain('>reference point z0</text>') // the run has none
    expect(svg).toContain('>thumbs up</text>')
  })

  test('several: a colour for each, by name; by path where names are the same', async () => {
    const svg = await runSvg([writeRun('kto', 30), writeRun('dpo', 40)])
    for (const name of ['kto', 'dpo']) expect(svg).toContain(`>${name}</text>`)
    const same = await runSvg([writeRun('a/x', 5), writeRun('b/x', 5)])
    for (const name of ['a/x', 'b/x']) expect(same).toContain(`>${join(folder, name)}</text>`)
  })

  test('a long one is thinned, and steps without a number are left out', async () => {
    const long = await runSvg([writeRun('long', 20_000)])
    expect(long.length).toBeLessThan(400_000)
    await expect(runSvg([writeRun('holes', 20, { loss: null })])).resolves.toContain('mean reward')
  })

  test('what is no run is refused, as are flags without sense', async () => {
    await expect(plot('run', [folder], options({}))).rejects.toThrow(/no metrics\.jsonl with steps/)
    await expect(plot('run', [], options({}))).rejects.toThrow(/no run directory is given/)
    await expect(plot('value', ['x'], options({}))).rejects.toThrow(/did you mean plot run/)
    expect(() => options({ loss: { beta: 1 } })).toThrow(/loss\.beta: needs --loss/)
  })
})
