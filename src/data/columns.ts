/** The number types that columns are stored as, by the name they have in a file. */
export const columnTypes = {
  u8: Uint8Array,
  u16: Uint16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  f64: Float64Array,
} as const

export type ColumnType = keyof typeof columnTypes
export type ColumnArray = InstanceType<(typeof columnTypes)[ColumnType]>

/** A list of numbers that grows without a JavaScript object for each. */
export class Column<T extends ColumnType = ColumnType> {
  readonly type: T
  length = 0
  #values: InstanceType<(typeof columnTypes)[T]>

  constructor(type: T) {
    this.type = type
    this.#values = new columnTypes[type](1024) as never
  }

  push(value: number): void {
    this.#reserve(1)
    this.#values[this.length++] = value
  }

  pushAll(values: ArrayLike<number>): void {
    this.#reserve(values.length)
    this.#values.set(values as never, this.length)
    this.length += values.length
  }

  #reserve(count: number): void {
    if (this.length + count <= this.#values.length) return
    const larger = new columnTypes[this.type](Math.max(this.length + count, this.#values.length * 2))
    larger.set(this.#values as never)
    this.#values = larger as never
  }

  /** What was pushed, without a copy: valid until the next push. */
  values(): InstanceType<(typeof columnTypes)[T]> {
    return this.#values.subarray(0, this.length) as never
  }
}

/** Gives equal keys of 128 bits equal numbers, counting from 0, in 40 bytes a key: for tens of millions of texts. */
export class HashNumbering {
  size = 0
  #slots = new Uint32Array(4 * 2048)
  #numbers = new Int32Array(2048).fill(-1)

  /** `hash` has at least 16 bytes. */
  of(hash: Buffer): number {
    if (this.size * 2 >= this.#numbers.length) this.#grow()
    const key = [hash.readUInt32LE(0), hash.readUInt32LE(4), hash.readUInt32LE(8), hash.readUInt32LE(12)] as const
    const slot = this.#find(key)
    if (this.#numbers[slot]! < 0) this.#put(slot, key, this.size++)
    return this.#numbers[slot]!
  }

  #find([a, b, c, d]: readonly [number, number, number, number]): number {
    const mask = this.#numbers.length - 1
    const slots = this.#slots
    for (let slot = a & mask; ; slot = (slot + 1) & mask) {
      if (this.#numbers[slot]! < 0) return slot
      const at = slot * 4
      if (slots[at] === a && slots[at + 1] === b && slots[at + 2] === c && slots[at + 3] === d) return slot
    }
  }

  #put(slot: number, key: readonly number[], number: number): void {
    this.#slots.set(key, slot * 4)
    this.#numbers[slot] = number
  }

  #grow(): void {
    const [slots, numbers] = [this.#slots, this.#numbers]
    this.#slots = new Uint32Array(slots.length * 2)
    this.#numbers = new Int32Array(numbers.length * 2).fill(-1)
    for (const [old, number] of numbers.entries()) {
      if (number < 0) continue
      const key = [slots[old * 4]!, slots[old * 4 + 1]!, slots[old * 4 + 2]!, slots[old * 4 + 3]!] as const
      this.#put(this.#find(key), key, number)
    }
  }
}

/** Gives texts numbers and keeps the texts: for names of annotators, files, groups. */
export class Names {
  readonly texts: string[]
  readonly #numbers: Map<string, number>

  constructor(texts: readonly string[] = []) {
    this.texts = [...texts]
    this.#numbers = new Map(this.texts.map((text, i) => [text, i]))
  }

  of(text: string): number {
    const known = this.#numbers.get(text)
    if (known !== undefined) return known
    this.#numbers.set(text, this.texts.length)
    return this.texts.push(text) - 1
  }
}
