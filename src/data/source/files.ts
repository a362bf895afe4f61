import { createHash } from 'node:crypto'
import { createWriteStream, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { writeFileAtomic } from '../../tensor/atomic.ts'
import { firstBytes, packingOf } from './bytes.ts'
import { duck, queryAll, quoted } from './duck.ts'

export type FileKind = 'jsonl' | 'json' | 'csv' | 'parquet'

export interface Places {
  /** Where downloads are kept. */
  cache?: string
}

const known = /\.(jsonl|ndjson|json|csv|tsv|parquet)(\.(gz|gzip|zst|zstd))?$/i

/**
 * The files that sources stand for: a file, a folder (all data files in and below it), a glob, an http(s) address. In the
 * order given, folders and globs sorted by name. Throws where there is none.
 */
export async function filesOf(sources: readonly string[], places: Places = {}): Promise<string[]> {
  const files: string[] = []
  for (const source of sources) files.push(...(await filesOfOne(source, places)))
  return files
}

async function filesOfOne(source: string, places: Places): Promise<string[]> {
  if (/^https?:\/\//.test(source)) return [await downloaded(source, places.cache ?? defaultCache())]
  if (existsSync(source)) return statSync(source).isDirectory() ? filesIn(source) : [source]
  if (!/[*?[{]/.test(source)) throw new Error(`${source}: no such file`)
  const found = await queryAll<{ file: string }>(await duck(), `select file from glob(${quoted(source)}) order by file`)
  if (found.length === 0) throw new Error(`${source}: no file matches`)
  return found.map(({ file }) => file)
}

function filesIn(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && known.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
  if (files.length === 0)
    throw new Error(`${folder}: no data files in this folder (.jsonl, .json, .csv, .tsv, .parquet, also .gz or .zst)`)
  return files
}

/** What a file holds, by its name; without a name that says so, by its first bytes. */
export function kindOf(file: string): FileKind {
  const start = firstBytes(file, 4)
  if (start.toString('latin1') === 'PAR1') return 'parquet'
  const extension = known.exec(file)?.[1]?.toLowerCase()
  if (extension === 'parquet') {
    if (packingOf(start) !== 'plain')
      throw new Error(`${file}: a packed Parquet file; unpack it first (Parquet is packed inside)`)
    return 'parquet'
  }
  if (extension === 'csv' || extension === 'tsv') return 'csv'
  if (extension === 'json') return 'json'
  return 'jsonl'
}

/** Where caches go: PROSPECT_CACHE, or prospect in the user's cache folder. */
export function defaultCache(): string {
  return process.env.PROSPECT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'prospect')
}

/** Fetches a file once: later runs ask the server whether it changed, and use the copy where the server does not answer. */
async function downloaded(url: string, cache: string): Promise<string> {
  const folder = join(cache, 'downloads')
  mkdirSync(folder, { recursive: true })
  const name = basename(new URL(url).pathname) || 'data.jsonl'
  const file = join(folder, `${createHash('sha256').update(url).digest('hex').slice(0, 16)}-${name}`)
  const tagFile = `${file}.etag`
  const tag = existsSync(file) && existsSync(tagFile) ? readFileSync(tagFile, 'utf8') : null
  const response = await fetch(url, tag ? { headers: { 'if-none-match': tag } } : {}).catch((error) => {
    if (existsSync(file)) return null
    const cause = (error as { cause?: Error }).cause
    throw new Error(`${url}: cannot be fetched: ${cause?.message ?? (error as Error).message}`)
  })
  if (response === null || response.status === 304) return file
  if (!response.ok || !response.body)
    throw new Error(`${url}: the server answers ${response.status} ${response.statusText}`)
  const partial = `${file}.${process.pid}.partial`
  await pipeline(
    Readable.fromWeb(response.body as import('node:stream/web').ReadableStream),
    createWriteStream(partial),
  )
  renameSync(partial, file)
  const newTag = response.headers.get('etag')
  if (newTag) writeFileAtomic(tagFile, newTag)
  return file
}
