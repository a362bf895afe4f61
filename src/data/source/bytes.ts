import { createHash } from 'node:crypto'
import { closeSync, createReadStream, openSync, readSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import * as zlib from 'node:zlib'

/** How a file is packed; known by its first bytes, whatever its name. */
export type Packing = 'plain' | 'gzip' | 'zstd'

const chunkBytes = 1 << 20

/** The first bytes of a file. Throws naming the file. */
export function firstBytes(file: string, count: number): Buffer {
  const buffer = Buffer.alloc(count)
  const handle = named(file, () => {
    if (statSync(file).isDirectory()) throw new Error('is a folder')
    return openSync(file, 'r')
  })
  try {
    return buffer.subarray(
      0,
      named(file, () => readSync(handle, buffer, 0, count, 0)),
    )
  } finally {
    closeSync(handle)
  }
}

export function packingOf(start: Buffer): Packing {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip'
  if (start.length >= 4 && start.readUInt32LE(0) === 0xfd2fb528) return 'zstd'
  return 'plain'
}

/** A file's bytes, unpacked, a chunk at a time. */
export async function* unpackedBytes(file: string, counter?: { bytes: number }): AsyncGenerator<Buffer> {
  const packing = packingOf(firstBytes(file, 4))
  const raw = createReadStream(file, { highWaterMark: chunkBytes })
  const before = counter?.bytes ?? 0
  try {
    const chunks: AsyncIterable<Buffer> = packing === 'plain' ? raw : packing === 'gzip' ? gunzipped(raw) : unzstd(raw)
    for await (const chunk of chunks) {
      if (counter) counter.bytes = before + raw.bytesRead
      yield chunk
    }
  } catch (error) {
    throw new Error(`${file}: ${packing === 'plain' ? '' : `damaged ${packing}: `}${(error as Error).message}`)
  } finally {
    raw.destroy()
  }
}

async function* gunzipped(raw: AsyncIterable<Buffer> & NodeJS.ReadableStream): AsyncGenerator<Buffer> {
  const gunzip = zlib.createGunzip({ chunkSize: chunkBytes })
  raw.on('error', (error) => gunzip.destroy(error))
  yield* raw.pipe(gunzip) as AsyncIterable<Buffer>
}

/** By Node itself from 22.15 on, else by fzstd, which is about five times slower. */
async function* unzstd(raw: AsyncIterable<Buffer> & NodeJS.ReadableStream): AsyncGenerator<Buffer> {
  const { createZstdDecompress } = zlib as unknown as { createZstdDecompress?: () => NodeJS.ReadWriteStream }
  if (createZstdDecompress) {
    const unpack = createZstdDecompress()
    raw.on('error', (error) => (unpack as unknown as { destroy(error: Error): void }).destroy(error))
    yield* raw.pipe(unpack) as unknown as AsyncIterable<Buffer>
    return
  }
  const { Decompress } = createRequire(import.meta.url)('fzstd') as typeof import('fzstd')
  let unpacked: Buffer[] = []
  const decompress = new Decompress((chunk) => unpacked.push(Buffer.from(chunk)))
  const flushed = () => {
    const chunks = unpacked
    unpacked = []
    return chunks
  }
  for await (const chunk of raw) {
    decompress.push(chunk)
    yield* flushed()
  }
  decompress.push(new Uint8Array(0), true)
  yield* flushed()
}

/** SHA-256 of a file as it lies on the disk. */
export async function fileHash(file: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: chunkBytes })) hash.update(chunk)
  } catch (error) {
    throw named(file, () => {
      throw error
    })
  }
  return hash.digest('hex')
}

/** Runs a piece of file work; its errors name the file. */
export function named<T>(file: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(code === 'ENOENT' ? `${file}: no such file` : `${file}: ${message}`)
  }
}
