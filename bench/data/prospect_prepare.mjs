// Reads, templates, tokenises and caches a feedback file as training would; prints {seconds, cpu, rows, tokens, peak} as JSON.
//   node prospect_prepare.mjs --tokenizer FOLDER --data rows.jsonl --cache FOLDER
import { parseArgs } from 'node:util'
import { openDataset } from '../../dist/data/dataset.js'
import { loadTokenizer } from '../../dist/data/tokenizer.js'

const { values } = parseArgs({
  options: { tokenizer: { type: 'string' }, data: { type: 'string' }, cache: { type: 'string' } },
})
const began = performance.now()
const tokenizer = loadTokenizer(values.tokenizer)
const { store } = await openDataset(
  {
    sources: [values.data],
    read: { onBadRow: 'error', needLabels: true },
    tokenize: { maxLength: 2048, maxPromptLength: 1024, strict: false, onBadRow: 'error' },
    cache: values.cache,
  },
  tokenizer,
)
const seconds = (performance.now() - began) / 1000
const used = process.cpuUsage()
const cpu = (used.user + used.system) / 1e6
let tokens = 0
for (let row = 0; row < store.length; row++) tokens += store.promptTokens[row] + store.completionTokens[row]
const peak = process.resourceUsage().maxRSS * 1024
console.log(JSON.stringify({ seconds, cpu, rows: store.length, tokens, peak }))
