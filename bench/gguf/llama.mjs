// llama.cpp's side of run.mjs, in a process of its own, since two OpenMP runtimes in one stall each other:
//   node llama.mjs <folder with node_modules/node-llama-cpp> <job.json>; prints {ids, replies} as JSON
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, job] = process.argv.slice(2)
const { file, texts, prompts, count } = JSON.parse(readFileSync(job, 'utf8'))
const library = createRequire(join(folder, 'x.js')).resolve('node-llama-cpp')
const { getLlama } = await import(pathToFileURL(library).href)
const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, logLevel: 'error', progressLogs: false })
const model = await llama.loadModel({ modelPath: file })
const ids = texts.map((text) => model.tokenize(text, true))
const replies = []
for (const prompt of prompts) replies.push(await greedy(prompt))
process.stdout.write(JSON.stringify({ ids, replies }), () => process.exit(0))

async function greedy(prompt) {
  const context = await model.createContext({
    contextSize: 256,
    threads: 1,
    flashAttention: false,
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
  })
  const tokens = []
  for await (const token of context.getSequence().evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    tokens.push(token)
    if (tokens.length === count) break
  }
  await context.dispose()
  return tokens
}
