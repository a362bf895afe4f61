import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { op } from '../../src/tensor/operators.ts'
import { readSafetensors, writeSafetensors } from '../../src/tensor/safetensors.ts'
import { liveTensors, scope } from '../../src/tensor/scope.ts'
import { type Dtype, Tensor } from '../../src/tensor/tensor.ts'

const folder = mkdtempSync(join(tmpdir(), 'prospect-safetensors-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let files = 0
const newPath = () => join(folder, `${files++}.safetensors`)

/** A file with exactly this header, padded or not, and this data. */
function fileOf(header: string, data: Uint8Array = new Uint8Array()): string {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)))
  const path = newPath()
  writeFileSync(path, Buffer.concat([length, Buffer.from(header), data]))
  return path
}

function entryOf(path: string, name: string) {
  return readSafetensors(path).tensors.get(name)!
}

describe('a file written and read back', () => {
  const dtypes: Dtype[] = [
    'float32',
    'float64',
    'float16',
    'bfloat16',
    'int64',
    'int32',
    'int16',
    'int8',
    'uint8',
    'bool',
  ]

  it.each(dtypes)('keeps %s, its shape and its bits', (dtype) => {
    scope(() => {
      const values = dtype === 'bool' ? [0, 1, 1, 0, 1, 0] : [0, 1, 2.5, 3, 100, 127]
      const tensor = Tensor.from(values, [2, 3], 'float32').to(dtype)
      const path = newPath()
      writeSafetensors(path, [['x', tensor]])
      const loaded = entryOf(path, 'x').load()
      expect([loaded.dtype, loaded.shape]).toEqual([dtype, [2, 3]])
      expect(loaded.toBytes()).toEqual(tensor.toBytes())
      expect(loaded.toArray()[1]).toBe(1)
    })
  })

  it('keeps scalars, empty tensors, odd names and metadata', () => {
    scope(() => {
      const path = newPath()
      const tensors = {
        'a scalar': Tensor.from([7], []),
        'päälle "1"': Tensor.from([], [0, 4]),
        '2': Tensor.from([1, 2]),
      }
      writeSafetensors(path, Object.entries(tensors), { format: 'pt' })
      const { metadata, tensors: loaded } = readSafetensors(path)
      expect(metadata).toEqual({ format: 'pt' })
      expect(loaded.size).toBe(3)
      for (const [name, tensor] of Object.entries(tensors)) {
        expect(loaded.get(name)!.shape).toEqual(tensor.shape)
        expect(loaded.get(name)!.load().toBytes()).toEqual(tensor.toBytes())
      }
    })
  })

  it('stores the elements of a view, not of what it is a view of', () => {
    scope(() => {
      const path = newPath()
      const matrix = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3])
      writeSafetensors(path, [
        ['transposed', matrix.transpose(0, 1)],
        ['column', matrix.narrow(1, 1, 1)],
      ])
      expect([...entryOf(path, 'transposed').load().toArray()]).toEqual([1, 4, 2, 5, 3, 6])
      expect([...entryOf(path, 'column').load().toArray()]).toEqual([2, 5])
    })
  })

  it('makes lazy tensors one at a time and frees each', () => {
    const before = liveTensors()
    const alive: number[] = []
    const load = () => {
      const tensor = Tensor.from([1, 2])
      alive.push(liveTensors() - before)
      return tensor
    }
    const lazy = { dtype: 'float32', shape: [2], load } as const
    writeSafetensors(newPath(), [
      ['a', lazy],
      ['b', lazy],
    ])
    expect(alive).toEqual([1, 1])
    expect(liveTensors()).toBe(before)
  })

  it('aligns every tensor to its element size, as other readers need', () => {
    scope(() => {
      const path = newPath()
      writeSafetensors(path, [
        ['byte', Tensor.from([1], [1], 'uint8')],
        ['half', Tensor.from([1]).to('bfloat16')],
        ['double', Tensor.from([1], [1], 'float64')],
      ])
      const bytes = readFileSync(path)
      const headerBytes = Number(bytes.readBigUInt64LE())
      const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes))
      expect(headerBytes % 8).toBe(0)
      expect(header.double.data_offsets[0] % 8).toBe(0)
      expect(header.half.data_offsets[0] % 2).toBe(0)
    })
  })
})

describe('a loaded tensor', () => {
  it('may lie at an odd byte', () => {
    const header = JSON.stringify({
      byte: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
      x: { dtype: 'BF16', shape: [3], data_offsets: [1, 7] },
    })
    for (const padded of [header, `${header} `]) {
      const bits = new Uint8Array(Uint16Array.of(0x3f80, 0xc000, 0x4049).buffer) // 1, -2, 3.140625
      scope(() => {
        const x = entryOf(fileOf(padded, Uint8Array.of(9, ...bits)), 'x').load()
        expect([...x.to('float32').mul(2).toArray()]).toEqual([2, -4, 6.28125])
      })
    }
  })

  it('keeps what is written to it from the file and from other loads', () => {
    scope(() => {
      const path = newPath()
      writeSafetensors(path, [['x', Tensor.from([1, 2, 3])]])
      const before = readFileSync(path)
      const written = entryOf(path, 'x').load()
      op.zeroInPlace(written)
      expect([...written.toArray()]).toEqual([0, 0, 0])
      expect([...entryOf(path, 'x').load().toArray()]).toEqual([1, 2, 3])
      expect(readFileSync(path)).toEqual(before)
    })
  })

  it('outlives the replacement of its file', () => {
    scope(() => {
      const path = newPath()
      writeSafetensors(path, [['x', Tensor.from([1, 2, 3])]])
      const x = entryOf(path, 'x').load()
      writeSafetensors(path, [['x', Tensor.from([4])]])
      expect([...x.toArray()]).toEqual([1, 2, 3])
    })
  })
})

describe('a malformed file is refused with its name and what is wrong', () => {
  const four = new Uint8Array(4)
  const entry = (fields: object) => JSON.stringify({ x: { dtype: 'F32', shape: [1], data_offsets: [0, 4], ...fields } })
  const cases: [string, () => string, RegExp][] = [
    ['an empty file', () => cut(0), /0 bytes are no safetensors file/],
    ['a header cut short', () => cut(20), /the header claims \d+ bytes, the file has 20: it is cut short/],
    [
      'data cut short',
      () => fileOf(entry({}), four.subarray(1)),
      /tensor 'x': ends at byte 4 .* has 3 of it: it is cut short/,
    ],
    ['a pickle', () => pickle(), /the header claims \d+ bytes.*not a safetensors file/],
    ['a header that is not JSON', () => fileOf('{"x": '), /the header is not JSON/],
    ['a header that is a list', () => fileOf('[]'), /the header is not a JSON object/],
    [
      'an unknown dtype',
      () => fileOf(entry({ dtype: 'F8_E4M3' }), four),
      /'x': dtype "F8_E4M3" is not supported; known are F64/,
    ],
    [
      'a negative size',
      () => fileOf(entry({ shape: [-1] }), four),
      /'x': shape must be a list of whole numbers.*\[-1\]/,
    ],
    ['offsets that do not fit', () => fileOf(entry({ shape: [2] }), four), /'x': F32 \[2\] takes 8 bytes, .* give 4/],
    [
      'offsets backwards',
      () => fileOf(entry({ data_offsets: [4, 0] }), four),
      /'x': F32 \[1\] takes 4 bytes, .* give -4/,
    ],
    [
      'a size beyond all numbers',
      () => fileOf(entry({ shape: [2 ** 40, 2 ** 40] }), four),
      /'x': shape .* is too large/,
    ],
    ['no tensor description', () => fileOf('{"x": 1}'), /'x': expected an object, got 1/],
    ['tensors that overlap', () => overlapping(), /tensors 'x' and 'y' overlap/],
    [
      'metadata that is no text',
      () => fileOf('{"__metadata__": {"a": 1}}'),
      /__metadata__ must map strings to strings/,
    ],
  ]

  it.each(cases)('%s', (_, make, problem) => {
    const path = make()
    expect(() => readSafetensors(path)).toThrow(problem)
    expect(() => readSafetensors(path)).toThrow(path)
  })

  function cut(bytes: number): string {
    const path = fileOf(entry({}), four)
    writeFileSync(path, readFileSync(path).subarray(0, bytes))
    return path
  }
  function pickle(): string {
    const path = newPath()
    writeFileSync(path, Buffer.from('PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00'))
    return path
  }
  function overlapping(): string {
    const [x, y] = [
      [0, 4],
      [2, 6],
    ].map((data_offsets) => ({ dtype: 'F32', shape: [1], data_offsets }))
    return fileOf(JSON.stringify({ x, y }), new Uint8Array(6))
  }
})

describe('what cannot be written leaves the former file as it was', () => {
  const one = { dtype: 'float32', shape: [1], load: () => Tensor.from([1]) } as const

  it.each([
    [
      'a name that comes twice',
      [
        ['x', one],
        ['x', one],
      ],
      /tensor 'x': the name comes twice/,
    ],
    ['a reserved name', [['__metadata__', one]], /the name is reserved/],
    [
      'a tensor that is not as announced',
      [
        ['x', one],
        ['y', { ...one, shape: [2] }],
      ],
      /'y': announced as float32\[2\], loaded as float32\[1\]/,
    ],
  ] as const)('%s', (_, tensors, problem) => {
    const path = newPath()
    writeFileSync(path, 'former')
    const entries = readdirSync(folder)
    expect(() => writeSafetensors(path, tensors)).toThrow(problem)
    expect(readFileSync(path, 'utf8')).toBe('former')
    expect(readdirSync(folder)).toEqual(entries)
  })
})
