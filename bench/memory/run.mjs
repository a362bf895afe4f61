// Peak resident memory of training runs, each in a process of its own.
//   node bench/memory/run.mjs [case ...]
// RSS is sampled from /proc every 20 ms: anonymous pages (the process's own) and file pages (mapped weights and libraries, which the
// system may take back and which processes share).
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cases, writeRandomModel } from './cases.mjs'

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(cases)
const folder = join(tmpdir(), 'prospect-memory')
mkdirSync(folder, { recursive: true })
console.log('| Case | peak GB | own GB | file GB | limit GB | s a step |\n|---|---|---|---|---|---|')
let over = false
try {
  for (const name of wanted) {
    const { model, limit, title } = cases[name]
    if (!existsSync(join(folder, model, 'config.json'))) writeRandomModel(join(folder, model), model)
    const { peak, seconds } = await measured(name)
    over ||= peak.VmRSS > limit
    const figures = [peak.VmRSS, peak.RssAnon, peak.RssFile, limit].map((value) => value.toFixed(2))
    console.log(`| ${title} | ${figures.join(' | ')} | ${seconds} |`)
  }
} finally {
  if (!process.env.KEEP_MODELS) rmSync(folder, { recursive: true, force: true })
}
process.exitCode = over ? 1 : 0

function measured(name) {
  const script = fileURLToPath(new URL('case.mjs', import.meta.url))
  const child = spawn(process.execPath, [script, name, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const peak = { VmRSS: 0, RssAnon: 0, RssFile: 0 }
  const timer = setInterval(() => sample(child.pid, peak), 20)
  let output = ''
  child.stdout.on('data', (text) => {
    output += text
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code) => {
      clearInterval(timer)
      if (code === 0) resolve({ peak, seconds: output.trim() })
      else reject(new Error(`${name} ended with ${code}`))
    })
  })
}

/** In GB of 10^9 bytes. */
function sample(pid, peak) {
  let status
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return // it has ended
  }
  for (const key of Object.keys(peak)) {
    const kilobytes = Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1] ?? 0)
    peak[key] = Math.max(peak[key], (kilobytes * 1024) / 1e9)
  }
}
