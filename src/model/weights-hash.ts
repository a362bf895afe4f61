import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { writeFileAtomic } from '../tensor/atomic.ts'
import type { Progress } from '../train/run.ts'
import type { ModelFolder } from './folder.ts'
import { type OnBytes, showingBytes } from './progress.ts'

type Weights = Pick<ModelFolder, 'path' | 'rawConfig' | 'weightFiles'>

interface HashHooks {
  progress?: Pick<Progress, 'start'> | undefined
  signal?: AbortSignal | undefined
}

/**
 * SHA-256 over configuration and weights, in hexadecimal: equal where the model computes the same. Reading gigabytes takes a while, so the
 * answer is kept in `cache` for as long as the files stay as they are. Throws the signal's reason where it is aborted.
 */
export async function weightsHash(
  model: Weights,
  cache?: string,
  { progress, signal }: HashHooks = {},
): Promise<string> {
  const shownHash = () =>
    showingBytes(progress, 'hash of the weights (MB)', (onBytes) => hashOf(model, onBytes, signal))
  if (cache === undefined) return shownHash()
  const { key, newest } = identityOf(model)
  const file = join(cache, 'weights', key)
  if (existsSync(file)) return readFileSync(file, 'utf8')
  const began = Date.now()
  const hash = await shownHash()
  // A file that changed a moment ago may change again within the clock's resolution, and look the same.
  if (identityOf(model).key === key && newest < began - 2000) {
    mkdirSync(join(cache, 'weights'), { recursive: true })
    writeFileAtomic(file, hash)
  }
  return hash
}

async function hashOf(
  { path, rawConfig, weightFiles }: Weights,
  onBytes: OnBytes,
  signal?: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(rawConfig))
  const total = weightFiles.reduce((sum, name) => sum + statSync(join(path, name)).size, 0)
  let done = 0
  for (const name of weightFiles) {
    for await (const chunk of createReadStream(join(path, name), { highWaterMark: 1 << 22 })) {
      signal?.throwIfAborted()
      hash.update(chunk as Buffer)
      done += (chunk as Buffer).length
      onBytes(done, total)
    }
  }
  return hash.digest('hex')
}

/** What tells the files from others and from themselves before a change. ctime moves with every write, also where mtime was put back. */
function identityOf({ path, rawConfig, weightFiles }: Weights): { key: string; newest: number } {
  const files = weightFiles.map((name) => {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(join(path, name), { bigint: true })
    return [realpathSync(join(path, name)), dev, ino, size, mtimeNs, ctimeNs].map(String)
  })
  const newest = Math.max(...files.map((file) => Number(file.at(-1)) / 1e6))
  const key = createHash('sha256')
    .update(JSON.stringify([rawConfig, files]))
    .digest('hex')
  return { key, newest }
}
