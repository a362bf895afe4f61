import { addon } from './addon.ts'
import { type Dtype, op } from './operators.ts'
import { track, untrack } from './scope.ts'

export type { Dtype } from './operators.ts'

/** Where a tensor's memory is: `cpu`, `cuda:0`, ...; `meta`: nowhere, the tensor has a shape only. */
export type Device = string

type Data = Float32Array | Float64Array | BigInt64Array | Int32Array | Int16Array | Int8Array | Uint8Array | Uint16Array

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const

/**
 * A libtorch tensor. Its memory is native: JavaScript's collector does not see it, so make tensors inside `scope()`, or `dispose()` them.
 * Methods that take a tensor or a number broadcast as libtorch does.
 */
export class Tensor {
  /** 0 once disposed. */
  handle: number

  constructor(handle: number) {
    this.handle = handle
    track(this)
  }

  /**
   * Copies `data` to a new tensor, on the CPU unless a device is given; the dtype is the array's own unless it is given (int64 from Int32Array,
   * bool from Uint8Array). A GPU takes the copy while the processor goes on.
   */
  static from(data: Data | readonly number[], shape?: readonly number[], dtype?: Dtype, device?: Device): Tensor {
    const { values, type } = typedData(data, dtype)
    const elsewhere = device === 'cpu' ? undefined : device
    return new Tensor(addon().fromBytes(values, shape ?? [values.length], type, elsewhere))
  }

  /** A copy of bytes that lie in memory as the dtype's elements, row-major. */
  static fromBytes(bytes: Uint8Array, shape: readonly number[], dtype: Dtype): Tensor {
    return new Tensor(addon().fromBytes(bytes, shape, dtype))
  }

  get shape(): number[] {
    return addon().shape(this.handle)
  }
  get dtype(): Dtype {
    return addon().dtype(this.handle) as Dtype
  }
  get device(): string {
    return addon().device(this.handle)
  }
  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, size) => product * size, 1)
  }
  /** The one element of a tensor that has one. */
  item(): number {
    return addon().item(this.handle)
  }
  /** The elements in row-major order, as float32, whatever the dtype. A copy. */
  toArray(): Float32Array {
    const source = this.dtype === 'float32' ? this : this.to('float32')
    const result = new Float32Array(addon().toBytes(source.handle))
    if (source !== this) source.dispose()
    return result
  }
  /** The elements as they lie in memory, row-major. A copy. */
  toBytes(): Uint8Array {
    return new Uint8Array(addon().toBytes(this.handle))
  }

  add(other: Tensor | number): Tensor {
    return typeof other === 'number' ? op.addScalar(this, other) : op.add(this, other)
  }
  sub(other: Tensor | number): Tensor {
    return typeof other === 'number' ? op.subScalar(this, other) : op.sub(this, other)
  }
  mul(other: Tensor | number): Tensor {
    return typeof other === 'number' ? op.mulScalar(this, other) : op.mul(this, other)
  }
  div(other: Tensor | number): Tensor {
    return typeof other === 'number' ? op.divScalar(this, other) : op.div(this, other)
  }
  neg(): Tensor {
    return op.neg(this)
  }
  sigmoid(): Tensor {
    return op.sigmoid(this)
  }
  silu(): Tensor {
    return op.silu(this)
  }
  matmul(other: Tensor): Tensor {
    return op.matmul(this, other)
  }
  sum(dims?: readonly number[], keepDims = false): Tensor {
    return dims ? op.sumDims(this, dims, keepDims) : op.sum(this)
  }
  mean(dims?: readonly number[], keepDims = false): Tensor {
    return dims ? op.meanDims(this, dims, keepDims) : op.mean(this)
  }
  view(...size: number[]): Tensor {
    return op.view(this, size)
  }
  reshape(...size: number[]): Tensor {
    return op.reshape(this, size)
  }
  transpose(dim0: number, dim1: number): Tensor {
    return op.transpose(this, dim0, dim1)
  }
  /** `length` elements of a dimension from `start`: a view. */
  narrow(dim: number, start: number, length: number): Tensor {
    return op.narrow(this, dim, start, length)
  }
  indexSelect(dim: number, index: Tensor): Tensor {
    return op.indexSelect(this, dim, index)
  }
  /** This tensor where it has the dtype already, else a copy. */
  to(dtype: Dtype): Tensor {
    return this.dtype === dtype ? this : op.toDtype(this, dtype)
  }
  /** This tensor where it is on the device already, else a copy. */
  on(device: Device): Tensor {
    return this.device === device ? this : op.toDevice(this, device, this.dtype)
  }
  detach(): Tensor {
    return op.detach(this)
  }
  clone(): Tensor {
    return op.clone(this)
  }

  get requiresGrad(): boolean {
    return addon().requiresGrad(this.handle)
  }
  /** Makes a leaf whose gradient `backward()` accumulates. */
  withGrad(on = true): this {
    addon().setRequiresGrad(this.handle, on)
    return this
  }
  get grad(): Tensor | null {
    const handle = addon().grad(this.handle)
    return handle === null ? null : new Tensor(handle)
  }
  set grad(gradient: Tensor | null) {
    addon().setGrad(this.handle, gradient?.handle ?? null)
  }
  /** Accumulates the gradient of this (a scalar, or weighted by `gradient`) in the leaves it was computed from. */
  backward(gradient?: Tensor): void {
    addon().backward(this.handle, gradient?.handle ?? null)
  }

  /** Frees the memory now; a second call does nothing. */
  dispose(): void {
    if (this.handle === 0) return
    untrack(this)
    addon().drop(this.handle)
    this.handle = 0
  }
}

function typedData(data: Data | readonly number[], dtype?: Dtype): { values: Data; type: Dtype } {
  if (dtype === 'bfloat16' || dtype === 'float16') {
    if (!(data instanceof Uint16Array))
      throw new TypeError(`${dtype} data is given as its bits, a Uint16Array; use Tensor.from(...).to('${dtype}')`)
    return { values: data, type: dtype }
  }
  const own = (Object.keys(arrays) as (keyof typeof arrays)[]).find((name) => data.constructor === arrays[name])
  const type = dtype ?? own ?? 'float32'
  const wanted = arrays[type as keyof typeof arrays]
  if (data.constructor === wanted) return { values: data as Data, type }
  if (type === 'int64' && data instanceof Int32Array) return { values: widened(data), type }
  const numbers = Array.from(data as ArrayLike<number>)
  return {
    values: type === 'int64' ? BigInt64Array.from(numbers, BigInt) : (wanted as typeof Float32Array).from(numbers),
    type,
  }
}

/** int32 to int64, as pairs of little-endian halves: making BigInts one by one takes 20 times as long. */
function widened(values: Int32Array): BigInt64Array {
  const halves = new Int32Array(2 * values.length)
  for (let i = 0; i < values.length; i++) {
    halves[2 * i] = values[i]!
    halves[2 * i + 1] = values[i]! >> 31
  }
  return new BigInt64Array(halves.buffer)
}
