import type { LazyTensor } from '../tensor/safetensors.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { GgufTensor, StoredType } from './gguf-file.ts'

const chunkElements = 1 << 22

/** A tensor for a GGUF file; `change` is applied when it is written. Memory: the tensor itself, and a few megabytes for its conversion. */
export function ggufTensor(
  name: string,
  source: LazyTensor,
  wanted: StoredType,
  change: (tensor: Tensor) => Tensor = (tensor) => tensor,
): GgufTensor {
  const { shape } = source
  const type = typeFor(shape, wanted)
  return {
    name,
    shape,
    type,
    *bytes() {
      for (const { first, count } of chunks(shape)) yield convert(rows(source, change, first, count), type)
    },
  }
}

/** Vectors, norms and biases among them, stay float32, as llama.cpp has them; rows that 32 does not divide have no blocks. */
function typeFor(shape: readonly number[], wanted: StoredType): StoredType {
  if (shape.length < 2) return 'f32'
  return wanted === 'q8_0' && shape.at(-1)! % 32 !== 0 ? 'f16' : wanted
}

/** Ranges of rows of about a chunk; a vector is one. */
function* chunks(shape: readonly number[]): Generator<{ first: number; count: number }> {
  const [height = 1, ...width] = shape
  const each = shape.length < 2 ? height : Math.max(1, Math.floor(chunkElements / width.reduce((a, b) => a * b, 1)))
  for (let first = 0; first < height; first += each) yield { first, count: Math.min(each, height - first) }
}

function rows(source: LazyTensor, change: (tensor: Tensor) => Tensor, first: number, count: number): Float32Array {
  return noGrad(() => scope(() => change(source.load()).narrow(0, first, count).to('float32').toArray()))
}

function convert(values: Float32Array, type: StoredType): Uint8Array {
  switch (type) {
    case 'f32':
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    case 'f16':
      return bytesOf(Uint16Array.from(values, toHalf))
    case 'bf16':
      return bytesOf(bfloat16s(values))
    case 'q8_0':
      return blocksOf8(values)
  }
}

const bytesOf = (values: Uint16Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

/** Rounded to the nearest, ties to even; NaN stays NaN. */
function bfloat16s(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  return Uint16Array.from(bits, (word) => {
    if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40
    return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
  })
}

const scratch = new Float32Array(1)
const scratchBits = new Uint32Array(scratch.buffer)

/** The bits of the nearest float16, ties to even. */
export function toHalf(value: number): number {
  scratch[0] = value
  const word = scratchBits[0]!
  const sign = (word >>> 16) & 0x8000
  const exponent = (word >>> 23) & 0xff
  const fraction = word & 0x7fffff
  if (exponent === 0xff) return sign | 0x7c00 | (fraction ? 0x200 : 0)
  const shifted = exponent - 112
  if (shifted >= 31) return sign | 0x7c00
  if (shifted <= 0) {
    if (shifted < -10) return sign
    return sign | roundedShift(fraction | 0x800000, 14 - shifted)
  }
  return sign | (roundedShift((shifted << 23) | fraction, 13) & 0x7fff)
}

function roundedShift(value: number, by: number): number {
  const half = 1 << (by - 1)
  const rest = value & ((1 << by) - 1)
  const whole = value >>> by
  return rest > half || (rest === half && whole & 1) ? whole + 1 : whole
}

/** ggml's Q8_0: of each 32 elements a float16 scale, the largest magnitude / 127, then the elements over it, rounded away from zero at ties. */
export function blocksOf8(values: Float32Array): Uint8Array {
  const count = values.length / 32
  const bytes = new Uint8Array(count * 34)
  const view = new DataView(bytes.buffer)
  for (let block = 0; block < count; block++) {
    const first = block * 32
    let largest = 0
    for (let i = first; i < first + 32; i++) largest = Math.max(largest, Math.abs(values[i]!))
    const scale = Math.fround(largest / 127)
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
    view.setUint16(block * 34, toHalf(scale), true)
    for (let i = 0; i < 32; i++) {
      const scaled = Math.fround(values[first + i]! * inverse)
      view.setInt8(block * 34 + 2 + i, Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5))
    }
  }
  return bytes
}
