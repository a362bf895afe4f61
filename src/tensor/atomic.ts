import { createHash, randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'

// A temporary's name tells whose it is: .<name>.<host>-<process>-<random>.<kind>. `partial` is being written or
// deleted; `replaced` is the former complete target, between the renames of a replacement.
type Kind = 'partial' | 'replaced'
const temporaryName = /^\.(.+)\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.(partial|replaced)$/
const thisHost = createHash('sha256').update(hostname()).digest('hex').slice(0, 8)
const dayMilliseconds = 86_400_000
const largestWrite = 1 << 30 // Linux and Node write less than 2 GiB at once

/**
 * Writes a whole file or nothing: to a temporary beside it, synced, then renamed. `data` may be a function that writes to the open file.
 * Where it throws, `path` is as it was before.
 */
export function writeFileAtomic(path: string, data: string | Uint8Array | ((file: number) => void)): void {
  const temporary = temporaryFor(path, 'partial')
  try {
    writeSynced(temporary, data)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
  syncPath(dirname(path))
}

function writeSynced(path: string, data: string | Uint8Array | ((file: number) => void)): void {
  const file = openSync(path, 'wx')
  try {
    if (typeof data === 'function') data(file)
    else writeAll(file, typeof data === 'string' ? Buffer.from(data) : data)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** Writes all bytes at the file's position, however many. */
export function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, Math.min(bytes.length - at, largestWrite))
}

/**
 * Makes `target` the directory that `fill` writes, or leaves it as it was where `fill` throws: `fill` gets an empty temporary sibling, which
 * is synced and renamed. What an existing `target` held before is deleted. A directory cannot be exchanged in one step, so a process killed
 * between two renames leaves the former one under a temporary name: `sweepTemporaries` of the parent folder brings it back.
 */
export async function replaceDirectory(
  target: string,
  fill: (temporary: string) => void | Promise<void>,
): Promise<void> {
  const place = existsSync(target) ? realpathSync(target) : resolve(target) // through a link: replace what it points to
  if (existsSync(place) && !statSync(place).isDirectory()) throw new Error(`${target} is a file: name a folder`)
  mkdirSync(dirname(place), { recursive: true })
  const temporary = temporaryFor(place, 'partial')
  mkdirSync(temporary)
  try {
    await fill(temporary)
    syncTree(temporary)
    moveInto(place, temporary)
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    throw error
  }
}

function moveInto(place: string, temporary: string): void {
  const replaced = existsSync(place) ? temporaryFor(place, 'replaced') : null
  if (replaced) renameSync(place, replaced)
  try {
    renameSync(temporary, place)
  } catch (error) {
    if (replaced) renameSync(replaced, place)
    throw error
  }
  syncPath(dirname(place))
  if (!replaced) return
  const rubbish = temporaryFor(place, 'partial') // half deleted, it must not look like something to put back
  renameSync(replaced, rubbish)
  rmSync(rubbish, { recursive: true, force: true })
}

/**
 * Removes from a folder what dead processes left of `writeFileAtomic` and `replaceDirectory`, and puts back a directory whose replacement
 * they did not finish. What may belong to a live process stays. Returns the names that went.
 */
export function sweepTemporaries(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder).filter((entry) => {
    const [, name, host, process, kind] = temporaryName.exec(entry) ?? []
    const path = join(folder, entry)
    if (!name || !isAbandoned(path, host!, Number(process))) return false
    const target = join(folder, name)
    if (kind === 'replaced' && !existsSync(target)) renameSync(path, target)
    else rmSync(path, { recursive: true, force: true })
    return true
  })
}

function isAbandoned(path: string, host: string, pid: number): boolean {
  const changed = statSync(path, { throwIfNoEntry: false })?.ctimeMs
  if (changed === undefined) return false // another process was faster
  if (host !== thisHost) return Date.now() - changed > dayMilliseconds // a shared disk: who is alive there cannot be seen
  // A container gives a restarted program the same process number: older than this process means its predecessor's.
  if (pid === process.pid) return changed < Date.now() - process.uptime() * 1000 - 1000
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

function temporaryFor(path: string, kind: Kind): string {
  const owner = `${thisHost}-${process.pid}-${randomBytes(4).toString('hex')}`
  return join(dirname(path), `.${basename(path)}.${owner}.${kind}`)
}

/** Syncs every file under a folder, then the folders, innermost first. */
function syncTree(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) syncTree(path)
    else if (entry.isFile()) syncPath(path)
  }
  syncPath(folder)
}

function syncPath(path: string): void {
  const file = openSync(path, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
