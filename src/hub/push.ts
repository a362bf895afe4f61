import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { HubHooks } from './download.ts'
import { HubError, hubError } from './errors.ts'
import { retryingFetch } from './fetch.ts'
import { parseHubName } from './names.ts'
import { hubSettings } from './settings.ts'

export interface PushOptions {
  /** Whether a repository that is made for it is private. */
  private?: boolean
  /** Of the commit. */
  message?: string
}

/** Uploads a folder as one commit to a model repository, which is made where there is none. Gives the commit's address. */
export async function pushFolder(
  folder: string,
  repository: string,
  options: PushOptions = {},
  hooks: HubHooks = {},
): Promise<string> {
  const settings = hooks.settings ?? hubSettings()
  const name = parseHubName(repository, 'model')
  if (!name || name.path !== null) throw new HubError(`--push ${repository}: give a name as org/name`, null)
  const { token, endpoint } = settings
  if (settings.offline) throw new HubError(`--push ${repository}: HF_HUB_OFFLINE is set`, null)
  if (token === null)
    throw new HubError(
      `--push ${repository}: no token: set HF_TOKEN to one that may write, or log in with \`hf auth login\``,
      null,
    )
  const get = retryingFetch({ ...hooks.retry, ...(hooks.signal && { signal: hooks.signal }) })
  const repo = { type: 'model', name: name.repository } as const
  const shared = { repo, accessToken: token, hubUrl: endpoint, fetch: get }
  const { createRepo, uploadFilesWithProgress } = await import('@huggingface/hub')
  try {
    await createRepo({ ...shared, visibility: options.private ? 'private' : 'public' }).catch(ignoreExisting)
    const paths = filesOf(folder)
    const files = paths.map((path) => ({ path, content: pathToFileURL(join(folder, path)) }))
    const branch = name.revision
    const events = uploadFilesWithProgress({
      ...shared,
      files,
      branch,
      commitTitle: options.message ?? 'Upload from Prospect',
    })
    return (await followed(events, paths.length, hooks)) ?? `${endpoint}/${name.repository}`
  } catch (error) {
    hooks.signal?.throwIfAborted()
    throw hubError(error, name, settings)
  }
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort()
}

function ignoreExisting(error: unknown): void {
  if ((error as { statusCode?: number }).statusCode !== 409) throw error
}

type UploadEvents = ReturnType<typeof import('@huggingface/hub').uploadFilesWithProgress>

/** Shows the events as a bar: one unit a file, of which large files send parts. */
async function followed(events: UploadEvents, count: number, { progress }: HubHooks): Promise<string | undefined> {
  const piece = progress?.start(count, 'uploading files')
  const parts = new Map<string, number>()
  try {
    for (;;) {
      const { value, done } = await events.next()
      if (done) return value?.commit.url
      if (value.event !== 'fileProgress' || value.state === 'error') continue
      parts.set(value.path, value.state === 'hashing' ? value.progress / 2 : 0.5 + value.progress / 2)
      piece?.update([...parts.values()].reduce((sum, part) => sum + part, 0))
    }
  } finally {
    piece?.stop()
  }
}
