import { writeAll, writeFileAtomic } from '../tensor/atomic.ts'

// The format: github.com/ggml-org/ggml, docs/gguf.md, version 3. All numbers are little-endian.
const magic = 'GGUF'
const version = 3
const alignment = 32

/** A value of the file's metadata, with its type. */
export type Value =
  | { type: 'u32' | 'i32' | 'f32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: readonly string[] }
  | { type: 'f32s' | 'i32s'; value: readonly number[] }

export type Metadata = ReadonlyMap<string, Value>

/** How a tensor's elements are stored: `code` is ggml's number of the type. */
export const storedTypes = {
  f32: { code: 0, fileType: 0, blockElements: 1, blockBytes: 4 },
  f16: { code: 1, fileType: 1, blockElements: 1, blockBytes: 2 },
  q8_0: { code: 8, fileType: 7, blockElements: 32, blockBytes: 34 },
  bf16: { code: 30, fileType: 32, blockElements: 1, blockBytes: 2 },
} as const
export type StoredType = keyof typeof storedTypes

/** A tensor that is written when its turn comes. */
export interface GgufTensor {
  name: string
  /** Row-major, the outermost first, as in torch; the file has them the other way around. */
  shape: readonly number[]
  type: StoredType
  /** The elements as they lie in the file, in order, in pieces of any size. */
  bytes(): Iterable<Uint8Array>
}

/** Bytes that a tensor takes in the file. */
export function storedBytes({ shape, type }: Pick<GgufTensor, 'shape' | 'type'>): number {
  const { blockElements, blockBytes } = storedTypes[type]
  return (shape.reduce((product, size) => product * size, 1) / blockElements) * blockBytes
}

/** Writes a GGUF file, whole or not at all. `onTensor` is called as each tensor is done. */
export function writeGguf(
  path: string,
  metadata: Metadata,
  tensors: readonly GgufTensor[],
  onTensor: (done: number) => void = () => {},
): void {
  const header = encodeHeader(metadata, tensors)
  writeFileAtomic(path, (file) => {
    writeAll(file, header)
    for (const [i, tensor] of tensors.entries()) {
      let written = 0
      for (const piece of tensor.bytes()) {
        writeAll(file, piece)
        written += piece.length
      }
      const size = storedBytes(tensor)
      if (written !== size) throw new Error(`${path}: ${tensor.name} has ${written} bytes, announced were ${size}`)
      writeAll(file, new Uint8Array(padded(size) - size))
      onTensor(i + 1)
    }
  })
}

const padded = (size: number) => Math.ceil(size / alignment) * alignment

function encodeHeader(metadata: Metadata, tensors: readonly GgufTensor[]): Uint8Array {
  const out = new Encoder()
  out.raw(Buffer.from(magic)).u32(version).u64(tensors.length).u64(metadata.size)
  for (const [key, value] of metadata) out.string(key).value(value)
  let offset = 0
  for (const tensor of tensors) {
    out.string(tensor.name).u32(tensor.shape.length)
    for (const size of tensor.shape.toReversed()) out.u64(size)
    out.u32(storedTypes[tensor.type].code).u64(offset)
    offset += padded(storedBytes(tensor))
  }
  return out.finish()
}

const valueCodes = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const
const elementTypes = { strings: 'string', f32s: 'f32', i32s: 'i32' } as const

class Encoder {
  #buffer = Buffer.alloc(1 << 16)
  #length = 0

  raw(bytes: Uint8Array): this {
    this.#room(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
    return this
  }

  u32(value: number): this {
    this.#room(4)
    this.#length = this.#buffer.writeUInt32LE(value, this.#length)
    return this
  }

  u64(value: number): this {
    this.#room(8)
    this.#length = this.#buffer.writeBigUInt64LE(BigInt(value), this.#length)
    return this
  }

  string(text: string): this {
    const bytes = Buffer.from(text)
    return this.u64(bytes.length).raw(bytes)
  }

  value(value: Value): this {
    if (value.type !== 'strings' && value.type !== 'f32s' && value.type !== 'i32s')
      return this.u32(valueCodes[value.type]).#plain(value.type, value.value as number | boolean | string)
    const type = elementTypes[value.type]
    this.u32(valueCodes.array).u32(valueCodes[type]).u64(value.value.length)
    for (const element of value.value) this.#plain(type, element)
    return this
  }

  #plain(type: 'u32' | 'i32' | 'f32' | 'bool' | 'string', value: number | boolean | string): this {
    if (type === 'string') return this.string(value as string)
    this.#room(4)
    const number = Number(value)
    if (type === 'bool') this.#length = this.#buffer.writeUInt8(number, this.#length)
    else if (type === 'f32') this.#length = this.#buffer.writeFloatLE(number, this.#length)
    else if (type === 'i32') this.#length = this.#buffer.writeInt32LE(number, this.#length)
    else return this.u32(number)
    return this
  }

  /** The header, filled up so that the data begins aligned. */
  finish(): Uint8Array {
    const bytes = new Uint8Array(padded(this.#length))
    bytes.set(this.#buffer.subarray(0, this.#length))
    return bytes
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return
    const larger = Buffer.alloc(Math.max(this.#buffer.length * 2, this.#length + bytes))
    larger.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = larger
  }
}
