import {
  closeSync,
  createReadStream,
  existsSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs'
import type { ListFileEntry } from '@huggingface/hub'
import { type Lock, makeOnce } from '../tensor/lock.ts'
import type { Progress } from '../train/run.ts'
import { checkListed, hashOf, RepositoryCache, type RepositoryFile } from './cache.ts'
import { HubError, hubError, isUnreachable } from './errors.ts'
import { type RetryOptions, reasonOf, retryingFetch } from './fetch.ts'
import { type HubName, isCommit, nameText } from './names.ts'
import { type HubSettings, hubSettings } from './settings.ts'

export interface HubHooks {
  progress?: Progress | undefined
  signal?: AbortSignal | undefined
  settings?: HubSettings
  /** For tests: how often and how soon to try again. */
  retry?: Pick<RetryOptions, 'tries' | 'wait'>
}

/** Picks, of the files that a repository has, those that are needed. Throws where what is needed is not among them. */
export type Choice = (paths: readonly string[]) => readonly string[]

export interface Snapshot {
  folder: string
  commit: string
  /** The chosen files, relative to the folder. */
  files: readonly string[]
}

/**
 * Brings the chosen files of a repository into the cache and gives the snapshot's folder. What is there is not fetched again, a broken
 * download goes on where it ended, and every file's hash is checked. Where the hub cannot be reached, or must not, what the cache has is used.
 */
export async function downloadSnapshot(name: HubName, choose: Choice, hooks: HubHooks = {}): Promise<Snapshot> {
  const settings = hooks.settings ?? hubSettings()
  const cache = new RepositoryCache(settings.cache, name)
  if (settings.offline) return cachedSnapshot(name, choose, cache, 'HF_HUB_OFFLINE is set')
  const get = retryingFetch({
    ...hooks.retry,
    ...(hooks.signal && { signal: hooks.signal }),
    onWait: (seconds, reason) =>
      hooks.progress?.log(`${settings.endpoint}: ${reason}; trying again in ${Math.ceil(seconds)} s`),
  })
  try {
    return await fetchSnapshot(name, choose, cache, { ...hooks, settings, get })
  } catch (error) {
    hooks.signal?.throwIfAborted()
    if (!isUnreachable(error)) throw hubError(error, name, settings)
    const snapshot = cachedSnapshot(name, choose, cache, `${settings.endpoint} cannot be reached (${reasonOf(error)})`)
    hooks.progress?.log(`${settings.endpoint} cannot be reached (${reasonOf(error)}): using ${snapshot.folder}`)
    return snapshot
  }
}

function cachedSnapshot(name: HubName, choose: Choice, cache: RepositoryCache, reason: string): Snapshot {
  const commit = cache.commitOf(name.revision)
  const paths = commit ? cache.filesOf(commit) : []
  if (!commit || paths.length === 0)
    throw new HubError(
      `${nameText(name)} is not in ${cache.folder}, and ${reason}; if a local folder or file was meant, it does not exist`,
      null,
    )
  return { folder: cache.snapshot(commit), commit, files: choose(paths) }
}

interface Connection extends HubHooks {
  settings: HubSettings
  get: typeof fetch
}

async function fetchSnapshot(
  name: HubName,
  choose: Choice,
  cache: RepositoryCache,
  connection: Connection,
): Promise<Snapshot> {
  const { commit, files } = await listRepository(name, connection)
  const chosen = choose(files.map(({ path }) => path))
  const wanted = files.filter(({ path }) => chosen.includes(path))
  const missing = wanted.filter((file) => !cache.has(commit, file))
  cache.prepare(connection.settings.cache)
  await fetchFiles(name, commit, missing, cache, connection)
  cache.rememberCommit(name.revision, commit) // last: an offline run must not find a snapshot that was never whole
  return { folder: cache.snapshot(commit), commit, files: chosen }
}

async function listRepository(
  { kind, repository, revision }: HubName,
  { settings, get }: Connection,
): Promise<{ commit: string; files: RepositoryFile[] }> {
  const { datasetInfo, listFiles, modelInfo } = await import('@huggingface/hub')
  const shared = { hubUrl: settings.endpoint, fetch: get, ...(settings.token && { accessToken: settings.token }) }
  const asked = { ...shared, name: repository, revision, additionalFields: ['sha' as const] }
  const { sha: commit } = kind === 'model' ? await modelInfo(asked) : await datasetInfo(asked)
  if (!isCommit(commit)) throw new HubError(`the hub names commit ${JSON.stringify(commit)} of ${repository}`, null)
  const repo = { type: kind, name: repository } as const
  const files: RepositoryFile[] = []
  for await (const entry of listFiles({ ...shared, repo, revision: commit, recursive: true }))
    if (entry.type === 'file') files.push(checkListed(repositoryFile(entry)))
  return { commit, files }
}

function repositoryFile({ path, size, oid, lfs }: ListFileEntry): RepositoryFile {
  return { path, size, etag: lfs?.oid ?? oid ?? '' }
}

async function fetchFiles(
  name: HubName,
  commit: string,
  files: readonly RepositoryFile[],
  cache: RepositoryCache,
  connection: Connection,
): Promise<void> {
  const toFetch = files.filter((file) => !existsSync(cache.blob(file)))
  const bytes = (file: RepositoryFile) =>
    existsSync(cache.incomplete(file)) ? statSync(cache.incomplete(file)).size : 0
  const total = toFetch.reduce((sum, { size }) => sum + size, 0)
  const here = toFetch.reduce((sum, file) => sum + Math.min(file.size, bytes(file)), 0)
  if (toFetch.length > 0) announce(name, toFetch.length, total, here, cache, connection)
  const piece =
    toFetch.length > 0 ? connection.progress?.start(megabytes(total), 'downloading, MB', megabytes(here)) : undefined
  let done = 0
  try {
    for (const file of files) {
      const make = (lock: Lock) =>
        fetchFile(name, commit, file, cache, connection, (now) => {
          lock.refresh()
          piece?.update(megabytes(done + now))
        })
      await makeOnce(cache.blob(file), make, connection.signal)
      cache.link(commit, file)
      if (toFetch.includes(file)) done += file.size
    }
  } finally {
    piece?.stop()
  }
}

const megabytes = (bytes: number) => Math.round(bytes / 1e5) / 10

/** Says how much will come before it comes; throws where the disk cannot hold it. */
function announce(
  name: HubName,
  count: number,
  total: number,
  here: number,
  cache: RepositoryCache,
  { progress }: Connection,
): void {
  const part = here > 0 ? `, ${megabytes(here)} MB of them here already` : ''
  progress?.log(`${nameText(name)}: ${count} files, ${megabytes(total)} MB${part}, to ${cache.folder}`)
  const { bavail, bsize } = statfsSync(cache.folder)
  if (bavail * bsize < total - here) {
    throw new HubError(
      `${nameText(name)} takes ${megabytes(total - here)} MB, but ${cache.folder} has room for ${megabytes(bavail * bsize)} MB: ` +
        'make room, or set HF_HUB_CACHE to a folder on another disk',
      null,
    )
  }
}

/** Fetches one blob; whatever came before a broken connection stays and is continued. */
async function fetchFile(
  name: HubName,
  commit: string,
  file: RepositoryFile,
  cache: RepositoryCache,
  connection: Connection,
  onBytes: (done: number) => void,
): Promise<void> {
  const partial = cache.incomplete(file)
  const tries = connection.retry?.tries ?? 5
  let stalled = 0
  for (let mismatches = 0; ; ) {
    const before = existsSync(partial) ? statSync(partial).size : 0
    const cut =
      before < file.size || before === 0 ? await receive(name, commit, file, partial, connection, onBytes) : null
    connection.signal?.throwIfAborted()
    const after = existsSync(partial) ? statSync(partial).size : 0
    if (after < file.size) {
      stalled = after > before ? 0 : stalled + 1
      if (stalled >= tries)
        throw cut ?? new HubError(`${file.path}: the hub sends ${after} of ${file.size} bytes`, null)
      continue
    }
    const digest = await digestOf(partial, file)
    if (after === file.size && digest === file.etag) break
    rmSync(partial)
    if (++mismatches > 1)
      throw new HubError(
        `${nameText(name)}: ${file.path} came with hash ${digest}, but the hub lists ${file.etag}, twice: it is damaged there or on the way`,
        null,
      )
  }
  renameSync(partial, cache.blob(file))
}

/** Appends what the hub sends to the partial file. Gives the error that cut it short, or null; throws where it answers with an error. */
async function receive(
  name: HubName,
  commit: string,
  file: RepositoryFile,
  partial: string,
  { settings, get, signal }: Connection,
  onBytes: (done: number) => void,
): Promise<Error | null> {
  const begin = existsSync(partial) ? statSync(partial).size : 0
  const headers = {
    ...(settings.token && { authorization: `Bearer ${settings.token}` }), // fetch leaves it out where it is led to another host
    ...(begin > 0 && { range: `bytes=${begin}-` }),
    'accept-encoding': 'identity',
  }
  const kind = name.kind === 'dataset' ? 'datasets/' : ''
  const path = file.path.split('/').map(encodeURIComponent).join('/')
  const url = `${settings.endpoint}/${kind}${name.repository}/resolve/${commit}/${path}`
  const response = await get(url, { headers, ...(signal && { signal }) })
  if (response.status === 416) {
    rmSync(partial, { force: true }) // more is here than there
    return null
  }
  if (!response.ok) throw new HubError(`${url}: status ${response.status}`, response.status)
  const from = response.status === 206 ? begin : 0
  return await append(response, partial, from, file.size, onBytes)
}

async function append(
  response: Response,
  partial: string,
  from: number,
  size: number,
  onBytes: (done: number) => void,
): Promise<Error | null> {
  const output = openSync(partial, from > 0 ? 'a' : 'w')
  let done = from
  try {
    for await (const chunk of response.body ?? []) {
      for (let at = 0; at < chunk.length; ) at += writeSync(output, chunk, at)
      done += chunk.length
      if (done > size) return null // the hash will not agree
      onBytes(done)
    }
    return null
  } catch (error) {
    return error as Error
  } finally {
    closeSync(output)
  }
}

async function digestOf(path: string, file: RepositoryFile): Promise<string> {
  const hash = hashOf({ ...file, size: statSync(path).size })
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 22 })) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
