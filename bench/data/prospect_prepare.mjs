// Reads, templates, tokenises and caches a feedback file as training would; prints {loading, seconds, cpu, rows, tokens, peak} as JSON: the seconds it takes to
// load the tokenizer, and all after that.
//   node prospect_prepare.mjs --tokenizer FOLDER --data rows.jsonl --cache FOLDER
import { parseArgs } from 'node:util'
import { openDataset } from '../../dist/data/dataset.js'
import { loadTokenizer } from '../../dist/data/tokenizer.js'

const { values } = parseArgs({
  options: { tokenizer: { type: 'string' }, data: { type: 'string' }, cache: { type: 'string' } },
})
const started = performance.now()
const tokenizer = loadTokenizer(values.tokenizer)
const before = process.cpuUsage()
const began = performance.now()
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
const used = process.cpuUsage(before)
const cpu = (used.user + used.system) / 1e6
let tokens = 0
for (let row = 0; row < store.length; row++) tokens += store.promptTokens[row] + store.completionTokens[row]
const peak = process.resourceUsage().maxRSS * 1024
console.log(JSON.stringify({ loading: (began - started) / 1000, seconds, cpu, rows: store.length, tokens, peak }))
