/** A GGUF file's metadata and tensor places, read as ggml's docs/gguf.md describes the format. */
export function readGguf(bytes: Buffer): {
  metadata: Record<string, unknown>
  tensors: { name: string; shape: number[]; type: number; at: number }[]
} {
  let at = 0
  const next = (length: number) => {
    at += length
    return bytes.subarray(at - length, at)
  }
  const u32 = () => next(4).readUInt32LE()
  const u64 = () => Number(next(8).readBigUInt64LE())
  const string = () => next(u64()).toString('utf8')
  const value = (type: number): unknown => {
    switch (type) {
      case 4:
        return u32()
      case 5:
        return next(4).readInt32LE()
      case 6:
        return next(4).readFloatLE()
      case 7:
        return next(1)[0] === 1
      case 8:
        return string()
      case 9: {
        const element = u32()
        return Array.from({ length: u64() }, () => value(element))
      }
      default:
        throw new Error(`type ${type}`)
    }
  }
  if (bytes.subarray(0, 4).toString() !== 'GGUF') throw new Error('no GGUF file')
  at = 4
  if (u32() !== 3) throw new Error('not version 3')
  const [tensorCount, valueCount] = [u64(), u64()]
  const metadata = Object.fromEntries(Array.from({ length: valueCount }, () => [string(), value(u32())]))
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = string()
    const shape = Array.from({ length: u32() }, u64)
    return { name, shape, type: u32(), at: u64() }
  })
  const data = Math.ceil(at / 32) * 32
  return { metadata, tensors: tensors.map((tensor) => ({ ...tensor, at: data + tensor.at })) }
}
