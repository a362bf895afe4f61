// Logits of given tokens as `prospect generate` computes them: a prompt in one pass over the paged cache, then single tokens. Written as float32
// [rows, tokens of a row after the prompt, vocabulary], one row after the other.
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { PagedCache, pageTokens } from '../../dist/infer/cache.js'
import { streamTensors } from '../../dist/model/decoder.js'
import { loadDecoder } from '../../dist/model/load.js'
import { setThreads } from '../../dist/tensor/engine.js'
import { noGrad, scope } from '../../dist/tensor/scope.js'
import { Tensor } from '../../dist/tensor/tensor.js'

const { values: given } = parseArgs({
  options: {
    model: { type: 'string' },
    rows: { type: 'string' },
    prompt: { type: 'string' },
    dtype: { type: 'string' },
    output: { type: 'string' },
  },
})
setThreads(1)
const rows = JSON.parse(readFileSync(given.rows, 'utf8'))
const prompt = Number(given.prompt)
const decoder = loadDecoder(given.model, given.dtype)
const weights = noGrad(() => scope(() => decoder.computeWeights(given.dtype)))
const pagesOfRow = Math.ceil(rows[0].length / pageTokens)
const cache = new PagedCache(decoder.config, given.dtype, pagesOfRow * rows.length)
const pages = rows.map(() => Array.from({ length: pagesOfRow }, () => cache.take()))

/** Logits of the last of the tokens `from` to `to` of all rows, [rows, vocabulary]. */
function pass(from, to) {
  const each = to - from
  const all = Int32Array.from({ length: each * rows.length }, (_, i) => i)
  const row = all.map((i) => Math.floor(i / each))
  const positions = all.map((i) => from + (i % each))
  const tokens = all.map((i) => rows[row[i]][positions[i]])
  const lengths = all.map(() => rows[0].length)
  return scope(() =>
    noGrad(() => {
      const stream = { ...streamTensors({ tokens, positions }), rows: { positions, lengths } }
      const states = decoder.hidden(weights, stream, cache.attention({ pages, rows: row, positions }))
      const ends = Tensor.from(
        Int32Array.from(rows, (_, i) => (i + 1) * each - 1),
        undefined,
        'int64',
      )
      return decoder.logits(weights, states.indexSelect(0, ends)).toArray()
    }),
  )
}

const steps = [pass(0, prompt)]
for (let at = prompt; at < rows[0].length; at++) steps.push(pass(at, at + 1))
const vocabulary = steps[0].length / rows.length
const out = new Float32Array(rows.length * steps.length * vocabulary)
steps.forEach((logits, step) => {
  for (let row = 0; row < rows.length; row++)
    out.set(logits.slice(row * vocabulary, (row + 1) * vocabulary), (row * steps.length + step) * vocabulary)
})
writeFileSync(given.output, Buffer.from(out.buffer))
