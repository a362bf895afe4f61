// Trains on feedback that is three times as large as the memory that the whole process may use, and so are about its token ids. The limit is the kernel's: a memory control group
// (version 1 or 2, needs root), which counts pages of files too and gives them up under pressure; a process that needs more is killed.
//   sudo node bench/data/larger_than_memory.mjs [--megabytes 600] [--steps 4]
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { modelFolder } from '../kto/inputs.mjs'

const { values } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '600' },
    steps: { type: 'string', default: '4' },
    model: { type: 'string' },
  },
})
const limit = Number(values.megabytes) * 1e6
const scratch = mkdtempSync(join(tmpdir(), 'prospect-bench-larger-'))
const group = controlGroup(`prospect-${process.pid}`, limit)
try {
  const data = join(scratch, 'rows.jsonl')
  writeRows(data)
  const model = values.model ?? (await modelFolder('tiny'))
  const flags = ['--model', model, '--data', data, '--output', join(scratch, 'run'), '--cache', join(scratch, 'cache')]
  const more = [
    '--max-steps',
    values.steps,
    '--batch-size',
    '8',
    '--max-length',
    '1024',
    '--max-prompt-length',
    '512',
    '--eval-rows',
    '200',
  ]
  const program = fileURLToPath(new URL('../../bin/prospect.js', import.meta.url))
  const command = [process.execPath, program, 'train', ...flags, ...more]
  const began = performance.now()
  const { status, signal } = spawnSync(
    'sh',
    ['-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', group.folder, ...command],
    { stdio: 'inherit' },
  )
  const seconds = ((performance.now() - began) / 1000).toFixed(0)
  const steps = existsSync(join(scratch, 'run/metrics.jsonl'))
    ? readFileSync(join(scratch, 'run/metrics.jsonl'), 'utf8').trim().split('\n').length
    : 0
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`
  const disk = execFileSync('du', ['-sb', join(scratch, 'cache/tokens')], { encoding: 'utf8' }).split('\t')[0]
  console.log(
    `${megabytes(statSync(data).size)} of feedback, ${megabytes(Number(disk))} of token ids, limit ${megabytes(limit)}: ${steps} steps, ` +
      `${status === 0 ? 'done' : `ended by ${signal ?? status}`} after ${seconds} s; at most ${megabytes(group.peak())} in use, files' pages among them`,
  )
  process.exitCode = status === 0 ? 0 : 1
} finally {
  rmdirSync(group.folder)
  rmSync(scratch, { recursive: true })
}

function controlGroup(name, bytes) {
  const root = '/sys/fs/cgroup'
  const second = existsSync(join(root, 'cgroup.controllers'))
  const folder = join(root, second ? name : `memory/${name}`)
  mkdirSync(folder)
  writeFileSync(join(folder, second ? 'memory.max' : 'memory.limit_in_bytes'), String(bytes))
  const peakFile = join(folder, second ? 'memory.peak' : 'memory.max_usage_in_bytes')
  return { folder, peak: () => Number(readFileSync(peakFile, 'utf8')) }
}

/** Rows of 4,000 characters, all different, in all three times the limit. */
function writeRows(path) {
  const out = openSync(path, 'w')
  let [rows, bytes] = [0, 0]
  while (bytes < 3 * limit) {
    const lines = Array.from({ length: 500 }, () => {
      const text = (length) =>
        `t${10 + (rows % 90)} t${100 + (rows % 800)} t${10 + (Math.floor(rows / 90) % 90)} t${100 + (Math.floor(rows / 800) % 800)} `
          .repeat(Math.ceil(length / 18))
          .slice(0, length)
          .trimEnd()
      const label = rows++ % 2 === 0
      return `${JSON.stringify({ prompt: text(1800), completion: text(2200), label })}\n`
    })
    bytes += writeSync(out, lines.join(''))
  }
  closeSync(out)
}
