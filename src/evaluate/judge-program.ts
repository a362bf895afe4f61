import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, constants, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { attempt } from '../options/files.ts'
import { type Judge, scoringJudge } from './judge.ts'

const modules = new Set(['.ts', '.mts', '.js', '.mjs'])

/**
 * A judge of the user's own: a module whose default export takes `{prompt, completion, reference}` and gives a number, or an executable that reads such
 * objects with an `id` as lines and writes `{"id", "score"}` lines, in any order. Higher is better.
 */
export async function programJudge(path: string): Promise<Judge> {
  const program = attempt('--judge', path, () => readFileSync(path))
  const name = `${basename(path)}/${createHash('sha256').update(program).digest('hex').slice(0, 8)}`
  return modules.has(extname(path)) ? moduleJudge(path, name) : commandJudge(path, name)
}

type Reply = { prompt: unknown; completion: string; reference?: string }

async function moduleJudge(path: string, name: string): Promise<Judge> {
  const { default: score } = (await importModule(path)) as { default?: (reply: Reply) => unknown }
  if (typeof score !== 'function')
    throw new Error(
      `--judge ${path}: it has no default export that is a function ({prompt, completion, reference}) => number`,
    )
  return scoringJudge(name, async (reply) => finite(await score(reply), path))
}

/** TypeScript's types are taken out where Node does not do it. */
async function importModule(path: string): Promise<unknown> {
  try {
    return await import(pathToFileURL(resolve(path)).href)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_UNKNOWN_FILE_EXTENSION') throw error
    const { transformSync } = await import('amaro')
    const { code } = transformSync(readFileSync(path, 'utf8'), { mode: 'strip-only' })
    const plain = join(dirname(resolve(path)), `.${basename(path)}.${process.pid}.mjs`) // beside it, so that its imports resolve
    try {
      writeFileSync(plain, code)
      return await import(pathToFileURL(plain).href)
    } finally {
      rmSync(plain, { force: true })
    }
  }
}

function finite(score: unknown, path: string): number {
  if (typeof score === 'number' && Number.isFinite(score)) return score
  if (typeof score === 'boolean') return Number(score)
  throw new Error(`--judge ${path}: a score must be a number, got ${JSON.stringify(score)}`)
}

function commandJudge(path: string, name: string): Judge {
  try {
    accessSync(path, constants.X_OK)
  } catch {
    throw new Error(`--judge ${path}: neither a module (${[...modules].join(', ')}) nor executable: chmod +x ${path}`)
  }
  const command = new Command(path)
  return scoringJudge(
    name,
    (reply) => command.score(reply),
    () => command.close(),
  )
}

/** A program that scores lines. */
class Command {
  readonly #path: string
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #waiting = new Map<number, { resolve: (score: number) => void; reject: (error: Error) => void }>()
  #next = 0
  #failure: Error | null = null

  constructor(path: string) {
    this.#path = path
    this.#child = spawn(resolve(path), { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child.on('error', (error) => this.#fail(error))
    this.#child.on('exit', (code) =>
      this.#fail(new Error(`it ended with ${code} while ${this.#waiting.size} replies waited for a score`)),
    )
    this.#child.stdin.on('error', () => {}) // it ended: `exit` says so
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#read(line))
  }

  score(reply: Reply): Promise<number> {
    if (this.#failure) return Promise.reject(this.#failure)
    const id = this.#next++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.stdin.write(`${JSON.stringify({ id, ...reply })}\n`)
    })
  }

  close(): void {
    this.#child.stdin.end()
  }

  #read(line: string): void {
    if (line.trim() === '') return
    try {
      const { id, score } = JSON.parse(line) as { id: number; score: unknown }
      const waiting = this.#waiting.get(id)
      if (!waiting) throw new Error(`no reply ${id} waits for a score`)
      this.#waiting.delete(id)
      waiting.resolve(finite(score, this.#path))
    } catch (error) {
      this.#fail(
        new Error(`its line ${JSON.stringify(line.slice(0, 200))} is no {"id", "score"}: ${(error as Error).message}`),
      )
    }
  }

  #fail(error: Error): void {
    this.#failure ??= new Error(`--judge ${this.#path}: ${error.message}`)
    for (const { reject } of this.#waiting.values()) reject(this.#failure)
    this.#waiting.clear()
  }
}
