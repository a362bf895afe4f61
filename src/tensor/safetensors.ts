import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { addon } from './addon.ts'
import { writeAll, writeFileAtomic } from './atomic.ts'
import { type Dtype, op } from './operators.ts'
import { scope } from './scope.ts'
import { type Device, Tensor } from './tensor.ts'

// The format: 8 bytes little-endian length of the header, the header in JSON, the data. github.com/huggingface/safetensors, README, "Format".
const codes = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
} as const satisfies Record<string, Dtype>
const codeOf = Object.fromEntries(Object.entries(codes).map(([code, dtype]) => [dtype, code]))
const elementBytes: Record<Dtype, number> = {
  float64: 8,
  int64: 8,
  float32: 4,
  int32: 4,
  float16: 2,
  bfloat16: 2,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
}
const prefixBytes = 8
const longestHeader = 100_000_000 // the reference implementation's limit
const metadataKey = '__metadata__'

/** A tensor that is described now and made when it is needed. */
export interface LazyTensor {
  readonly dtype: Dtype
  readonly shape: readonly number[]
  load(): Tensor
}

/** A tensor in a safetensors file. `load()` gives a tensor over the file's own pages: nothing is read before an operator touches it. */
export interface TensorEntry extends LazyTensor {
  readonly name: string
  readonly bytes: number
}

/** A tensor of a file, which can also be read into memory of its own. */
export interface StoredTensor extends TensorEntry {
  /** The tensor in the given type, on the device. It is read a piece at a time: besides the result, a few megabytes are in memory. */
  read(dtype: Dtype, device?: Device): Tensor
}

export interface SafetensorsFile {
  readonly metadata: Record<string, string>
  readonly tensors: Map<string, StoredTensor>
}

/** Where a tensor lies: bytes from the data's first one. */
interface Place {
  name: string
  dtype: Dtype
  shape: number[]
  begin: number
  end: number
}

/**
 * Maps a safetensors file after checking all that its header says: tensors lie within the data, do not overlap and leave no byte out, and no name
 * comes twice. Written elements of a loaded tensor are private to this process. The file must not be cut or overwritten in place while
 * tensors are in use (replacing it by rename is fine). Errors name the file and the tensor.
 */
export function readSafetensors(path: string): SafetensorsFile {
  const { header, dataStart, dataBytes, version } = readHeader(path)
  const metadata = checkedMetadata(path, header[metadataKey])
  const places = Object.entries(header)
    .filter(([name]) => name !== metadataKey)
    .map(([name, value]) => checkedPlace(path, name, value, dataBytes))
  refuseOverlapsAndGaps(path, places, dataBytes)
  const mapping = addon().mapFile(path)
  const entries = places.map((place): [string, StoredTensor] => {
    const { name, dtype, shape, begin, end } = place
    const load = () => new Tensor(addon().mappedTensor(mapping, dataStart + begin, shape, dtype))
    const read = (wanted: Dtype, device?: Device) => readTensor({ path, version }, dataStart, place, wanted, device)
    return [name, { name, dtype, shape, bytes: end - begin, load, read }]
  })
  return { metadata, tensors: new Map(entries) }
}

/** Tells a file from another that takes its place. */
type Version = `${number}:${number}:${number}`

function versionOf(file: number): Version {
  const { ino, size, mtimeMs } = fstatSync(file)
  return `${ino}:${size}:${mtimeMs}`
}

function readHeader(path: string) {
  if (!statSync(path).isFile()) throw new Error(`${path}: not a file`) // opening a pipe would wait for ever
  const file = openSync(path, 'r')
  try {
    const size = fstatSync(file).size
    if (size < prefixBytes)
      throw new Error(`${path}: ${size} bytes are no safetensors file: it is cut short or not one`)
    const length = readExactly(path, file, 0, prefixBytes).readBigUInt64LE()
    if (length > longestHeader) {
      throw new Error(
        `${path}: the header claims ${length} bytes, at most ${longestHeader} are allowed: not a safetensors file`,
      )
    }
    const dataStart = prefixBytes + Number(length)
    if (dataStart > size) {
      throw new Error(
        `${path}: the header claims ${length} bytes, the file has ${size}: it is cut short or not safetensors`,
      )
    }
    const header = parsedHeader(path, readExactly(path, file, prefixBytes, Number(length)))
    return { header, dataStart, dataBytes: size - dataStart, version: versionOf(file) }
  } finally {
    closeSync(file)
  }
}

const pieceBytes = 1 << 23 // a multiple of every element's size

function readTensor(
  { path, version }: { path: string; version: Version },
  dataStart: number,
  { name, dtype, shape, begin, end }: Place,
  wanted: Dtype,
  device?: Device,
): Tensor {
  const file = openSync(path, 'r')
  try {
    if (versionOf(file) !== version) throw new Error(`${path}: the file changed while it was read: try again`)
    const result = op.empty(shape, wanted, undefined, device)
    const flat = scope(() => result.view(-1))
    const buffer = new ArrayBuffer(Math.min(pieceBytes, end - begin))
    for (let at = begin; at < end; at += pieceBytes) {
      const bytes = new Uint8Array(buffer, 0, Math.min(pieceBytes, end - at))
      const got = readSync(file, bytes, 0, bytes.length, dataStart + at)
      if (got !== bytes.length) throw new Error(`${path}: tensor '${name}': the file was cut short while it was read`)
      scope(() => {
        const piece = Tensor.fromBytes(bytes, [bytes.length / elementBytes[dtype]], dtype)
        op.copyInPlace(flat.narrow(0, (at - begin) / elementBytes[dtype], piece.size), piece)
      })
    }
    flat.dispose()
    return result
  } finally {
    closeSync(file)
  }
}

function readExactly(path: string, file: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  const got = readSync(file, bytes, 0, length, position)
  if (got !== length) throw new Error(`${path}: expected ${length} bytes at byte ${position}, got ${got}`)
  return bytes
}

function parsedHeader(path: string, bytes: Buffer): Record<string, unknown> {
  let text: string
  let header: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    header = JSON.parse(text)
  } catch (error) {
    throw new Error(`${path}: the header is not JSON: ${(error as Error).message}`)
  }
  if (!isRecord(header)) throw new Error(`${path}: the header is not a JSON object`)
  const repeated = repeatedKey(text)
  if (repeated !== null) throw new Error(`${path}: the header names ${brief(repeated)} twice`)
  return header
}

/** The first key that comes twice in the outermost object of a JSON text, which JSON.parse has read. It keeps the last and says nothing. */
export function repeatedKey(json: string): string | null {
  const keys = new Set<string>()
  let depth = 0
  let expectsKey = false
  for (let at = 0; at < json.length; at++) {
    const character = json[at]!
    if (character === '"') {
      const start = at
      for (at++; json[at] !== '"'; at++) if (json[at] === '\\') at++
      if (!expectsKey) continue
      const key = JSON.parse(json.slice(start, at + 1)) as string
      if (keys.has(key)) return key
      keys.add(key)
      expectsKey = false
    } else if (character === '{' || character === '[') {
      depth++
      expectsKey = depth === 1
    } else if (character === '}' || character === ']') depth--
    else if (character === ',' && depth === 1) expectsKey = true
  }
  return null
}

function checkedMetadata(path: string, value: unknown = {}): Record<string, string> {
  if (!isRecord(value) || Object.values(value).some((text) => typeof text !== 'string')) {
    throw new Error(`${path}: ${metadataKey} must map strings to strings, got ${brief(value)}`)
  }
  return value as Record<string, string>
}

function checkedPlace(path: string, name: string, value: unknown, dataBytes: number): Place {
  const wrong = (what: string) => new Error(`${path}: tensor '${name}': ${what}`)
  if (!isRecord(value)) throw wrong(`expected an object, got ${brief(value)}`)
  const { dtype: code, shape, data_offsets: offsets } = value
  if (typeof code !== 'string' || !Object.hasOwn(codes, code)) {
    throw wrong(`dtype ${brief(code)} is not supported; known are ${Object.keys(codes).join(', ')}`)
  }
  if (!isSizes(shape)) throw wrong(`shape must be a list of whole numbers from 0, got ${brief(shape)}`)
  if (!isSizes(offsets) || offsets.length !== 2)
    throw wrong(`data_offsets must be two whole numbers, got ${brief(offsets)}`)
  const dtype = codes[code as keyof typeof codes]
  const [begin, end] = offsets as [number, number]
  const bytes = byteSize(shape, dtype)
  if (bytes === null) throw wrong(`shape ${brief(shape)} is too large`)
  if (end - begin !== bytes) {
    throw wrong(`${code} ${brief(shape)} takes ${bytes} bytes, data_offsets ${brief(offsets)} give ${end - begin}`)
  }
  if (end > dataBytes) throw wrong(`ends at byte ${end} of the data, the file has ${dataBytes} of it: it is cut short`)
  return { name, dtype, shape, begin, end }
}

/** As the reference implementation: every byte of the data belongs to one tensor, so that nothing hides in the file. */
function refuseOverlapsAndGaps(path: string, places: readonly Place[], dataBytes: number): void {
  const inOrder = places.filter(({ begin, end }) => end > begin).sort((a, b) => a.begin - b.begin)
  let known = 0
  for (const [i, { name, begin, end }] of inOrder.entries()) {
    if (begin < known) throw new Error(`${path}: tensors '${inOrder[i - 1]!.name}' and '${name}' overlap`)
    if (begin > known) throw new Error(`${path}: bytes ${known} to ${begin} of the data belong to no tensor`)
    known = end
  }
  if (known !== dataBytes) throw new Error(`${path}: bytes ${known} to ${dataBytes} of the data belong to no tensor`)
}

/** Bytes of a tensor; null where a number cannot hold them exactly. */
function byteSize(shape: readonly number[], dtype: Dtype): number | null {
  let bytes = elementBytes[dtype]
  for (const size of shape) bytes *= size
  const bound = shape.reduce((product, size) => product * Math.max(size, 1), elementBytes[dtype]) // [2 ** 40, 2 ** 40, 0] overflows too
  return Number.isSafeInteger(bound) ? bytes : null
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 80 ? `${text.slice(0, 80)}...` : text
}

type NamedTensors = Iterable<readonly [string, Tensor | LazyTensor]>
/** Writes a safetensors file, now or in the background. */
export type WriteTensors = (path: string, tensors: NamedTensors, metadata?: Record<string, string>) => void

/**
 * Writes a safetensors file, whole or not at all. Dtypes are kept. Memory: live tensors are copied out one at a time, and a lazy one is made
 * when its turn comes and freed after it. Errors name the file and the tensor.
 */
export function writeSafetensors(path: string, tensors: NamedTensors, metadata: Record<string, string> = {}): void {
  const { header, entries } = fileContents(path, tensors, metadata)
  writeFileAtomic(path, (file) => {
    writeAll(file, header)
    for (const entry of entries) naming(path, entry.name, () => writeAll(file, bytesOf(entry)))
  })
}

/** A file's first bytes, and the tensors that follow them. */
export function fileContents(path: string, tensors: NamedTensors, metadata: Record<string, string>) {
  const entries = inFileOrder(describeTensors(path, tensors))
  return { header: encodedHeader(path, entries, metadata), entries }
}

/** The names, types and sizes of tensors to be written, without their data. Throws on a name that comes twice. */
export function describeTensors(path: string, tensors: NamedTensors): TensorEntry[] {
  const names = new Set<string>([metadataKey])
  return Array.from(tensors, ([name, source]) =>
    naming(path, name, () => {
      if (names.has(name)) throw new Error(name === metadataKey ? 'the name is reserved' : 'the name comes twice')
      names.add(name)
      const { dtype, shape } = source
      if (!(dtype in elementBytes))
        throw new Error(`dtype ${dtype} cannot be stored; known are ${Object.values(codes).join(', ')}`)
      const bytes = byteSize(shape, dtype)
      if (bytes === null) throw new Error(`shape ${brief(shape)} is too large`)
      return { name, dtype, shape, bytes, load: () => (source instanceof Tensor ? source : source.load()) }
    }),
  )
}

/** Wide elements first, as the reference implementation does: the format has no gaps, and its readers need aligned elements. */
function inFileOrder(entries: readonly TensorEntry[]): TensorEntry[] {
  return [...entries].sort((a, b) => elementBytes[b.dtype] - elementBytes[a.dtype])
}

function encodedHeader(path: string, entries: readonly TensorEntry[], metadata: Record<string, string>): Buffer {
  const fields: [string, unknown][] = Object.keys(metadata).length > 0 ? [[metadataKey, metadata]] : []
  let begin = 0
  for (const { name, dtype, shape, bytes } of entries) {
    fields.push([name, { dtype: codeOf[dtype], shape, data_offsets: [begin, begin + bytes] }])
    begin += bytes
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(fields)))
  const length = Math.ceil(json.length / 8) * 8
  if (length > longestHeader)
    throw new Error(`${path}: ${entries.length} tensors make a header of ${length} bytes: use several files`)
  const header = Buffer.alloc(prefixBytes + length, ' ')
  header.writeBigUInt64LE(BigInt(length))
  json.copy(header, prefixBytes)
  return header
}

function bytesOf(entry: TensorEntry): Uint8Array {
  return scope(() => loadAnnounced(entry).toBytes())
}

/** The tensor of an entry. Throws where it is not what the entry says. */
export function loadAnnounced(entry: TensorEntry): Tensor {
  const tensor = entry.load()
  if (tensor.dtype === entry.dtype && brief(tensor.shape) === brief(entry.shape)) return tensor
  throw new Error(`announced as ${entry.dtype}${brief(entry.shape)}, loaded as ${tensor.dtype}${brief(tensor.shape)}`)
}

/** Says which file and tensor an error is about. */
export function naming<R>(path: string, name: string, work: () => R): R {
  try {
    return work()
  } catch (error) {
    throw new Error(`${path}: tensor '${name}': ${(error as Error).message}`, { cause: error })
  }
}
