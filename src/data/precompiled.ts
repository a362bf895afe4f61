/**
 * SentencePiece's compiled character map, the `Precompiled` normaliser of tokenizer.json: a double-array trie of UTF-8 sequences (Darts),
 * then the texts that replace them, each ended by a zero byte.
 */
export class CharacterMap {
  readonly #units: Uint32Array
  readonly #texts: Uint8Array
  readonly #graphemes = new Intl.Segmenter('und', { granularity: 'grapheme' })
  readonly #encoder = new TextEncoder()
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })

  /** Throws where the blob is not one. */
  constructor(base64: string) {
    const bytes = Buffer.from(base64, 'base64')
    const size = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0
    if (size === 0 || size % 4 !== 0 || 4 + size > bytes.length)
      throw new Error('precompiled_charsmap is cut or no compiled map')
    this.#units = new Uint32Array(size / 4).map((_, i) => bytes.readUInt32LE(4 + 4 * i))
    this.#texts = bytes.subarray(4 + size)
  }

  /** Replaces what the map has: short clusters of characters as a whole, else character by character. */
  normalize(text: string): string {
    let result = ''
    for (const { segment } of this.#graphemes.segment(text)) {
      const bytes = this.#encoder.encode(segment)
      const whole = bytes.length < 6 ? this.#replacement(bytes) : null
      if (whole !== null) result += whole
      else for (const character of segment) result += this.#replacement(this.#encoder.encode(character)) ?? character
    }
    return result
  }

  /** The text for the shortest beginning that the trie has, as in Hugging Face's reading of the map; null where it has none. */
  #replacement(bytes: Uint8Array): string | null {
    let at = offset(this.#units[0] ?? 0)
    for (const byte of bytes) {
      at ^= byte
      const unit = this.#units[at]
      if (byte === 0 || unit === undefined || (unit & 0x800000ff) !== byte) return null
      at ^= offset(unit)
      if ((unit >>> 8) & 1) return this.#textAt((this.#units[at] ?? 0) & 0x7fffffff)
    }
    return null
  }

  #textAt(begin: number): string {
    const end = this.#texts.indexOf(0, begin)
    return this.#decoder.decode(this.#texts.subarray(begin, end < 0 ? undefined : end))
  }
}

/** Where a unit's children are, relative to it. */
function offset(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6)
}
