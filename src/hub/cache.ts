import { createHash, type Hash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { writeFileAtomic } from '../tensor/atomic.ts'
import { cacheFolderName, type HubName, isCommit, isInside } from './names.ts'

/** A file of a repository, as the hub lists it. */
export interface RepositoryFile {
  path: string
  size: number
  /** Its name among the blobs: SHA-256 of a large file, git's SHA-1 of a small one. */
  etag: string
}

/**
 * One repository's part of the cache, in the layout of Python's huggingface_hub: `blobs/<etag>` hold contents, `snapshots/<commit>/<path>`
 * link to them, `refs/<branch or tag>` name commits. Both tools read and write the same folders.
 */
export class RepositoryCache {
  readonly folder: string

  constructor(cache: string, name: Pick<HubName, 'kind' | 'repository'>) {
    this.folder = join(cache, cacheFolderName(name))
  }

  /** The commit that a revision was at when it was last looked up; null where it never was. */
  commitOf(revision: string): string | null {
    if (isCommit(revision)) return revision
    const file = join(this.folder, 'refs', revision)
    const commit = existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
    return isCommit(commit) ? commit : null
  }

  rememberCommit(revision: string, commit: string): void {
    if (revision === commit || this.commitOf(revision) === commit) return
    const file = join(this.folder, 'refs', revision)
    mkdirSync(dirname(file), { recursive: true })
    writeFileAtomic(file, commit)
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit)
  }

  /** Paths of the files that a snapshot has, broken links left out. */
  filesOf(commit: string): string[] {
    const root = this.snapshot(commit)
    if (!existsSync(root)) return []
    return readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && existsSync(join(entry.parentPath, entry.name)))
      .map((entry) => relative(root, join(entry.parentPath, entry.name)))
  }

  has(commit: string, { path }: RepositoryFile): boolean {
    return existsSync(join(this.snapshot(commit), path))
  }

  blob({ etag }: RepositoryFile): string {
    return join(this.folder, 'blobs', etag)
  }

  /** Where a file is collected while it comes in. */
  incomplete(file: RepositoryFile): string {
    return `${this.blob(file)}.incomplete`
  }

  prepare(cache: string): void {
    mkdirSync(join(this.folder, 'blobs'), { recursive: true })
    const tag = join(cache, 'CACHEDIR.TAG') // backup programs leave such folders out
    if (!existsSync(tag)) writeFileSync(tag, 'Signature: 8a477f597d28d172789f06886806bc55\n')
  }

  /** Puts a file whose blob is there into a snapshot; as a copy where links are not allowed. */
  link(commit: string, file: RepositoryFile): void {
    const place = join(this.snapshot(commit), file.path)
    mkdirSync(dirname(place), { recursive: true })
    rmSync(place, { force: true })
    try {
      symlinkSync(relative(dirname(place), this.blob(file)), place)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EEXIST') return // another process was faster
      if (code !== 'EPERM' && code !== 'ENOSYS' && code !== 'ENOTSUP') throw error
      copyFileSync(this.blob(file), place)
    }
  }
}

/** Throws where a listed file would land outside the cache, or its hash is none. */
export function checkListed(file: RepositoryFile): RepositoryFile {
  if (!isInside(file.path)) throw new Error(`the hub lists a file outside its folder: ${JSON.stringify(file.path)}`)
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(file.etag) || !Number.isSafeInteger(file.size) || file.size < 0)
    throw new Error(`the hub lists ${file.path} with hash ${JSON.stringify(file.etag)} and size ${file.size}`)
  return file
}

/** The hash whose hexadecimal digest must be the file's etag: SHA-256, or SHA-1 as git has it. */
export function hashOf({ etag, size }: RepositoryFile): Hash {
  return etag.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`)
}
