/** Bins of a signature, a byte each; 16 bands of 4. */
export const signatureBytes = 64
const bands = 16

/**
 * MinHash by one permutation (Li, Owen, Zhang 2012) over shingles of three words: each shingle's hash chooses a bin and competes in it, and a
 * byte of each bin's least hash is kept (b-bit minwise hashing, Li and König 2010). Empty bins borrow from the next full one (Shrivastava 2017,
 * densification by rotation). The share of equal bytes of two signatures estimates the Jaccard similarity of their texts.
 */
export function signatureOf(text: string): Uint8Array {
  const least = new Uint32Array(signatureBytes).fill(0xffffffff)
  const words = wordHashes(text)
  const count = Math.max(1, words.length - 2)
  for (let i = 0; i < count; i++) {
    const hash = mixed((words[i] ?? 0) ^ rotated(words[i + 1] ?? 0, 11) ^ rotated(words[i + 2] ?? 0, 22))
    const bin = hash & (signatureBytes - 1)
    const value = hash >>> 6
    if (value < least[bin]!) least[bin] = value
  }
  const signature = new Uint8Array(signatureBytes)
  for (let bin = 0; bin < signatureBytes; bin++) {
    let from = bin
    let hops = 0
    while (least[from] === 0xffffffff) {
      from = (from + 1) % signatureBytes
      hops++
    }
    signature[bin] = mixed(least[from]! + Math.imul(hops, 0x9e3779b1)) & 0xff
  }
  return signature
}

/** A hash of each word: letters and digits, whatever their case. */
function wordHashes(text: string): number[] {
  const hashes: number[] = []
  let hash = 0x811c9dc5
  let inWord = false
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i)
    if (code >= 65 && code <= 90) code += 32
    const isWord = (code >= 97 && code <= 122) || (code >= 48 && code <= 57) || code > 127
    if (isWord) {
      hash = Math.imul(hash ^ code, 0x01000193)
      inWord = true
    } else if (inWord) {
      hashes.push(hash)
      hash = 0x811c9dc5
      inWord = false
    }
  }
  if (inWord) hashes.push(hash)
  return hashes
}

function rotated(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}

function mixed(value: number): number {
  let hash = value ^ (value >>> 16)
  hash = Math.imul(hash, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Estimated Jaccard similarity of the texts behind two rows of a table of signatures. Bytes that are equal by chance are taken off. */
export function similarity(signatures: Uint8Array, a: number, b: number): number {
  let equal = 0
  for (let i = 0; i < signatureBytes; i++)
    if (signatures[a * signatureBytes + i] === signatures[b * signatureBytes + i]) equal++
  return Math.max(0, (equal / signatureBytes - 1 / 256) / (1 - 1 / 256))
}

const compared = 8

/**
 * For each row the first row that it is a near duplicate of (itself where it is of none). Candidates share one band of four bytes; a text is
 * compared with the latest few of each band only, so the work stays proportional to the number of rows, and memory to 16 bytes a row.
 * `comparable`: whether a row may be a duplicate of an earlier one.
 */
export function nearDuplicates(
  signatures: Uint8Array,
  atLeast: number,
  comparable: (row: number, earlier: number) => boolean = () => true,
): Int32Array {
  const count = signatures.length / signatureBytes
  const first = Int32Array.from({ length: count }, (_, i) => i)
  const words = new DataView(signatures.buffer, signatures.byteOffset, signatures.byteLength)
  let size = 16
  while (size < count) size *= 2
  const heads = new Int32Array(size) // the latest row of a bucket, counted from 1
  const before = new Int32Array(count) // the row before it in its bucket
  for (let band = 0; band < bands; band++) {
    heads.fill(0)
    for (let row = 0; row < count; row++) {
      const bucket = mixed(words.getUint32(row * signatureBytes + band * 4, true)) & (size - 1)
      before[row] = heads[bucket]!
      heads[bucket] = row + 1
      if (first[row] !== row) continue
      for (
        let other = before[row]! - 1, tries = 0;
        other >= 0 && tries < compared;
        other = before[other]! - 1, tries++
      ) {
        if (!comparable(row, other) || similarity(signatures, row, other) < atLeast) continue
        first[row] = other
        break
      }
    }
  }
  for (let row = 0; row < count; row++) first[row] = first[first[row]!]! // earlier rows point to their first already
  return first
}
