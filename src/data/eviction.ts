import { readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { join } from 'node:path'

const entryName = /^[0-9a-f]{32}$/
const leavingName = /^[0-9a-f]{32}\.evicted$/
const gigabyte = 1e9
const defaultGigabytes = 50

/** Bytes that token ids may take on the disk: PROSPECT_CACHE_GB, or 50 GB. Throws for a value that is no size. */
export function cacheLimit(text: string | undefined = process.env.PROSPECT_CACHE_GB): number {
  if (text === undefined || text === '') return defaultGigabytes * gigabyte
  const size = Number(text)
  if (!(size >= 0))
    throw new Error(`PROSPECT_CACHE_GB is ${JSON.stringify(text)}; expected a number of gigabytes, 0 or more`)
  return size * gigabyte
}

/** Notes that an entry is in use now. */
export function touchEntry(folder: string): void {
  utimesSync(folder, new Date(), new Date())
}

/**
 * Deletes the entries that were not used for the longest time until the rest takes at most `limit` bytes. Entries used in the last minutes stay:
 * a process may be about to open them. One that is open elsewhere stays readable there, since its files are mapped. Gives what was deleted.
 */
export function evict(folder: string, limit: number, spared = 10 * 60_000): string[] {
  const names = readdirSync(folder)
  for (const name of names.filter((name) => leavingName.test(name)))
    rmSync(join(folder, name), { recursive: true, force: true })
  const entries = names
    .filter((name) => entryName.test(name))
    .flatMap((name) => entryOf(folder, name))
    .sort((a, b) => a.used - b.used)
  let total = entries.reduce((sum, { bytes }) => sum + bytes, 0)
  const evicted: string[] = []
  for (const { name, bytes, used } of entries) {
    if (total <= limit || Date.now() - used < spared) break
    if (!remove(join(folder, name))) continue
    evicted.push(name)
    total -= bytes
  }
  return evicted
}

function entryOf(folder: string, name: string): { name: string; bytes: number; used: number }[] {
  const path = join(folder, name)
  const status = statSync(path, { throwIfNoEntry: false })
  if (!status?.isDirectory()) return []
  const sizes = readdirSync(path).map((file) => statSync(join(path, file), { throwIfNoEntry: false })?.size ?? 0)
  return [{ name, bytes: sizes.reduce((sum, size) => sum + size, 0), used: status.mtimeMs }]
}

/** Renamed first, so that nobody opens what is half deleted; false where another process was sooner. */
function remove(path: string): boolean {
  try {
    renameSync(path, `${path}.evicted`)
  } catch {
    return false
  }
  rmSync(`${path}.evicted`, { recursive: true, force: true })
  return true
}
