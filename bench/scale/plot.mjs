// Draws milliseconds a row against its tokens, from what `run.mjs --axis length` measured last, beside what is linear in tokens of them.
//   node bench/scale/plot.mjs [--to docs/images/scale-length.png]
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { pngOf, svgOf } from '../../dist/plot/render.js'
import { benchFolder } from '../kto/inputs.mjs'

const { values } = parseArgs({
  options: {
    results: { type: 'string', default: join(benchFolder, 'scale.jsonl') },
    to: { type: 'string', default: 'docs/images/scale-length.png' },
  },
})
const lines = readFileSync(values.results, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
const last = new Map(lines.filter(({ axis }) => axis === 'length').map((point) => [point.length, point]))
const points = [...last.values()].map(({ length, secondsPerRow }) => ({ tokens: length, seconds: secondsPerRow }))
const [perToken, perPair] = leastSquares(points)
console.log(
  `${(perToken * 1e6).toFixed(0)} us a token + ${(perPair * 1e9).toFixed(0)} ns a pair of tokens of a row; residuals: ` +
    points
      .map(
        ({ tokens, seconds }) =>
          `${tokens}: ${((seconds / (perToken * tokens + perPair * tokens ** 2) - 1) * 100).toFixed(0)} %`,
      )
      .join(', '),
)
const curve = (name, of) => points.map(({ tokens }) => ({ tokens, ms: of(tokens) * 1000, name }))
const logarithmic = { type: 'log', base: 2 }
const x = { field: 'tokens', type: 'quantitative', scale: logarithmic, title: 'tokens of a row' }
const y = { field: 'ms', type: 'quantitative', scale: logarithmic, title: 'milliseconds a row' }
const svg = await svgOf({
  width: 420,
  height: 280,
  layer: [
    {
      data: {
        values: [
          ...curve('linear and quadratic term', (n) => perToken * n + perPair * n * n),
          ...curve('linear term alone', (n) => perToken * n),
        ],
      },
      mark: 'line',
      encoding: { x, y, color: { field: 'name', type: 'nominal', title: null } },
    },
    {
      data: { values: points.map(({ tokens, seconds }) => ({ tokens, ms: seconds * 1000 })) },
      mark: { type: 'point', filled: true, size: 60, color: '#000000' },
      encoding: { x, y },
    },
  ],
})
writeFileSync(values.to, pngOf(svg))
console.log(values.to)

/** seconds = a tokens + b tokens^2, by least squares of relative errors. */
function leastSquares(points) {
  let [aa, ab, bb, a, b] = [0, 0, 0, 0, 0]
  for (const { tokens, seconds } of points) {
    const [p, q] = [tokens / seconds, tokens ** 2 / seconds]
    aa += p * p
    ab += p * q
    bb += q * q
    a += p
    b += q
  }
  const determinant = aa * bb - ab * ab
  return [(a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant]
}
