import { existsSync, readFileSync } from 'node:fs'
import { freemem } from 'node:os'
import { join } from 'node:path'

/** The most that a process may take, in GB, where that is less than what there is. */
const ownLimit = 'PROSPECT_MEMORY_GB'

/**
 * Bytes that this process may still take before something is swapped out or killed: what the system has, or what is left of the limit of its
 * container. Pages of files, which are given back when memory is short, count as available. PROSPECT_MEMORY_GB sets a limit of the user's own. `root`: of the file system, for tests.
 */
export function availableMemory(root = '/'): number {
  const meminfo = read(join(root, 'proc/meminfo'))
  const available = /^MemAvailable:\s+(\d+) kB/m.exec(meminfo ?? '')?.[1]
  const own = Number(process.env[ownLimit] || Number.POSITIVE_INFINITY)
  if (Number.isNaN(own)) throw new Error(`${ownLimit}: expected a number of gigabytes, got ${process.env[ownLimit]}`)
  return Math.min(
    available === undefined ? freemem() : Number(available) * 1024,
    ...containerRooms(root),
    Math.max(0, own * 1e9 - process.memoryUsage.rss()),
  )
}

/** Where a container's limit, its use and the statistics of that use stand: control groups of version 2, and of version 1. */
const limits = [
  { limit: 'memory.max', use: 'memory.current', statistics: 'memory.stat', files: 'inactive_file' },
  {
    limit: 'memory/memory.limit_in_bytes',
    use: 'memory/memory.usage_in_bytes',
    statistics: 'memory/memory.stat',
    files: 'total_inactive_file',
  },
]

function containerRooms(root: string): number[] {
  return limits.flatMap(({ limit, use, statistics, files }) => {
    const [most, used] = [limit, use].map((name) => Number(read(join(root, 'sys/fs/cgroup', name)) ?? Number.NaN))
    if (!Number.isFinite(most) || !Number.isFinite(used)) return [] // no such file, or `max`: no limit
    const stat = read(join(root, 'sys/fs/cgroup', statistics)) ?? ''
    const reclaimable = Number(new RegExp(`^${files} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0)
    return [Math.max(0, most! - used! + reclaimable)]
  })
}

function read(file: string): string | null {
  return existsSync(file) ? readFileSync(file, 'utf8') : null
}
