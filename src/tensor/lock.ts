import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { setTimeout } from 'node:timers/promises'

const staleAfter = 60_000

/** A file that only one process has made at a time. */
export interface Lock {
  /** Must be called now and then: a lock that nobody refreshes for a minute is nobody's. */
  refresh(): void
  release(): void
}

/** Makes a file or folder where it is not there yet. Of several processes that need it, one does the work and the others wait for it. */
export async function makeOnce(
  target: string,
  make: (lock: Lock) => Promise<unknown>,
  signal?: AbortSignal,
): Promise<void> {
  while (!existsSync(target)) {
    signal?.throwIfAborted()
    const lock = takeLock(`${target}.lock`)
    if (!lock) {
      await setTimeout(200)
      continue
    }
    try {
      if (!existsSync(target)) await make(lock)
    } finally {
      lock.release()
    }
  }
}

/** Makes the file, or gives null where another process has it. One whose maker has ended, or has not touched it for a minute, is nobody's. */
function takeLock(path: string): Lock | null {
  try {
    const file = openSync(path, 'wx')
    writeSync(file, `${hostname()} ${process.pid}`)
    closeSync(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const touched = statSync(path, { throwIfNoEntry: false })?.mtimeMs
    if (touched !== undefined && (Date.now() - touched > staleAfter || makerEnded(path))) rmSync(path, { force: true })
    return null
  }
  let refreshed = Date.now()
  return {
    refresh() {
      if (Date.now() - refreshed < 5000) return
      refreshed = Date.now()
      utimesSync(path, new Date(), new Date())
    },
    release: () => rmSync(path, { force: true }),
  }
}

/** Whether the lock was made on this machine by a process that is no more. */
function makerEnded(path: string): boolean {
  try {
    const [host, pid] = readFileSync(path, 'utf8').split(' ')
    if (host !== hostname() || !(Number(pid) > 0)) return false
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
