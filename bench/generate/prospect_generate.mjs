// Greedy replies to prompts of token ids; prints one JSON line. With --initialise DIR: gives the model there random weights.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { sample } from '../../dist/infer/sample.js'
import { writeInitialWeights } from '../../dist/model/create.js'
import { loadDecoder } from '../../dist/model/load.js'
import { setThreads } from '../../dist/tensor/engine.js'
import { noGrad, scope } from '../../dist/tensor/scope.js'

const { values: given } = parseArgs({
  options: {
    initialise: { type: 'string' },
    model: { type: 'string' },
    prompts: { type: 'string' },
    'new-tokens': { type: 'string' },
    dtype: { type: 'string' },
    threads: { type: 'string', default: '2' },
    profile: { type: 'boolean', default: false },
  },
})
if (given.initialise) {
  writeInitialWeights(given.initialise, 7)
  console.log('{}')
} else {
  setThreads(Number(given.threads))
  const decoder = loadDecoder(given.model, given.dtype)
  const weights = noGrad(() => scope(() => decoder.computeWeights(given.dtype)))
  const prompts = JSON.parse(readFileSync(given.prompts, 'utf8')).map((ids) => Int32Array.from(ids))
  const options = { greedy: true, stop: [], maxTokens: Number(given['new-tokens']) }
  for await (const _ of sample(decoder, weights, prompts.slice(0, 2), { ...options, maxTokens: 4 })) {
    // warms up
  }
  const replies = []
  const began = performance.now()
  for await (const { index, tokens } of sample(decoder, weights, prompts, options)) replies[index] = Array.from(tokens)
  const seconds = (performance.now() - began) / 1000
  console.log(JSON.stringify({ seconds, tokens: replies.flat().length, replies }))
}
