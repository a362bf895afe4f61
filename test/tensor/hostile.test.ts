import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, it } from 'vitest'
import { readSafetensors, writeSafetensors } from '../../src/tensor/safetensors.ts'
import { scope } from '../../src/tensor/scope.ts'
import { type Dtype, Tensor } from '../../src/tensor/tensor.ts'

const folder = mkdtempSync(join(tmpdir(), 'prospect-hostile-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const path = join(folder, 'hostile.safetensors')

function validFile(): Buffer {
  scope(() =>
    writeSafetensors(
      path,
      [
        ['first', Tensor.from([1, 2, 3, 4, 5, 6], [2, 3])],
        ['second', Tensor.from([1, 2, 3]).to('bfloat16')],
        ['empty', Tensor.from([], [0, 3])],
        ['last', Tensor.from(Uint8Array.of(1, 0, 1), [3], 'uint8')],
      ],
      { format: 'pt' },
    ),
  )
  return readFileSync(path)
}
const valid = validFile()
const headerLength = Number(valid.readBigUInt64LE())
const header = JSON.parse(valid.subarray(8, 8 + headerLength).toString()) as Record<string, unknown>
const data = valid.subarray(8 + headerLength)

/** Refused by an Error that names the file, or read whole: what every file must end in. */
function refusedOrSound(bytes: Uint8Array): 'refused' | 'sound' {
  writeFileSync(path, bytes)
  let tensors: ReturnType<typeof readSafetensors>['tensors']
  try {
    tensors = readSafetensors(path).tensors
  } catch (error) {
    expect(error).toBeInstanceOf(Error)
    expect((error as Error).message).toContain(path)
    return 'refused'
  }
  scope(() => {
    for (const entry of tensors.values()) {
      const [mapped, read] = [entry.load(), entry.read(entry.dtype)]
      expect(read.shape).toEqual([...entry.shape])
      expect(read.toBytes()).toEqual(mapped.toBytes()) // touches every byte
    }
  })
  return 'sound'
}

function fileOf(header: string, data: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)))
  return Buffer.concat([length, Buffer.from(header), data])
}

const place = fc.nat(valid.length - 1)
const byteMutation = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: place, value: fc.nat(255) }),
  fc.record({ kind: fc.constant('cut' as const), at: place, value: fc.nat(255) }),
  fc.record({ kind: fc.constant('insert' as const), at: place, value: fc.nat(255) }),
  fc.record({ kind: fc.constant('remove' as const), at: place, value: fc.nat(255) }),
)

function mutated(bytes: Buffer, { kind, at, value }: { kind: string; at: number; value: number }): Buffer {
  const place = Math.min(at, Math.max(0, bytes.length - 1))
  if (kind === 'cut') return bytes.subarray(0, place)
  const [before, after] = [bytes.subarray(0, place), bytes.subarray(place)]
  if (kind === 'insert') return Buffer.concat([before, Buffer.of(value), after])
  return Buffer.concat(kind === 'flip' ? [before, Buffer.of(value), after.subarray(1)] : [before, after.subarray(1)])
}

it('a file changed at any byte is refused with its name, or read without touching what is outside', () => {
  const outcomes = new Set<string>([refusedOrSound(valid)])
  fc.assert(
    fc.property(fc.array(byteMutation, { minLength: 1, maxLength: 4 }), (mutations) => {
      outcomes.add(refusedOrSound(mutations.reduce(mutated, valid)))
    }),
    { numRuns: 1500 },
  )
  expect([...outcomes].sort()).toEqual(['refused', 'sound'])
})

const lie = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    -1,
    0.5,
    '',
    [],
    {},
    [[]],
    'F32',
    2 ** 53,
    -(2 ** 53),
    1e308,
    2 ** 31,
    2 ** 32,
    2 ** 63,
  ),
  fc.integer(),
  fc.array(fc.oneof(fc.nat(30), fc.maxSafeInteger()), { maxLength: 4 }),
)
const headerLie = fc.record({
  name: fc.constantFrom('first', 'second', 'empty', 'last', '__metadata__', '__proto__', 'constructor', 'other'),
  field: fc.constantFrom('dtype', 'shape', 'data_offsets', 'more'),
  value: lie,
})

it('a header that lies about types, shapes or offsets is refused, or describes bytes that are there', () => {
  fc.assert(
    fc.property(fc.array(headerLie, { minLength: 1, maxLength: 3 }), (lies) => {
      const fields = new Map(Object.entries(structuredClone(header)))
      for (const { name, field, value } of lies)
        fields.set(name, { ...(fields.get(name) as object | undefined), [field]: value })
      const entries = [...fields].map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`)
      refusedOrSound(fileOf(`{${entries.join(', ')}}`, data))
    }),
    { numRuns: 1500 },
  )
})

it('offsets anywhere are taken only where they tile the data', () => {
  const offsets = fc.array(fc.tuple(fc.nat(14), fc.nat(14)), { minLength: 1, maxLength: 3 })
  let sound = 0
  fc.assert(
    fc.property(offsets, (pairs) => {
      const fields = pairs.map(([begin, end], i) => [
        `t${i}`,
        { dtype: 'U8', shape: [Math.max(0, end - begin)], data_offsets: [begin, end] },
      ])
      const outcome = refusedOrSound(fileOf(JSON.stringify(Object.fromEntries(fields)), new Uint8Array(12)))
      const used = pairs.filter(([begin, end]) => end > begin).sort(([a], [b]) => a - b)
      const tiles =
        pairs.every(([begin, end]) => begin <= end && end <= 12) &&
        used.every(([begin], i) => begin === (used[i - 1]?.[1] ?? 0)) &&
        used.at(-1)?.[1] === 12
      expect(outcome).toBe(tiles ? 'sound' : 'refused')
      if (tiles) sound++
    }),
    { numRuns: 3000, seed: 1 },
  )
  expect(sound).toBeGreaterThan(0)
})

it('a name that comes twice is refused, however it is spelt', () => {
  const entry = '{"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}'
  const second = '{"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}'
  writeFileSync(path, fileOf(`{"a\\"b": ${entry}, "a\\u0022b": ${second}}`, new Uint8Array(2)))
  expect(() => readSafetensors(path)).toThrow(`${path}: the header names "a\\"b" twice`)
  writeFileSync(path, fileOf(`{"a": ${entry}, "b": ${second}}`, new Uint8Array(2))) // keys within entries may repeat
  expect(readSafetensors(path).tensors.size).toBe(2)
})

const dtypes: Dtype[] = ['float32', 'bfloat16', 'float16']
it.each(dtypes)('a tensor of several pieces is read as it is mapped, to %s', (dtype) => {
  scope(() => {
    const values = Float32Array.from({ length: 3_000_001 }, (_, i) => Math.sin(i) * 3)
    writeSafetensors(path, [['x', Tensor.from(values)]])
    const entry = readSafetensors(path).tensors.get('x')!
    expect(Buffer.compare(entry.read(dtype).toBytes(), entry.load().to(dtype).toBytes())).toBe(0)
  })
})
