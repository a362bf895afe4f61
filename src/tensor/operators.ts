import { type Addon, addon } from './addon.ts'
import { Tensor } from './tensor.ts'

/** Element types, as libtorch's users name them. */
export type Dtype =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint8'
  | 'bool'

type T = Tensor
type Shape = readonly number[]
type Unary = (self: T) => T
type Binary = (self: T, other: T) => T
type WithNumber = (self: T, other: number) => T
type Activation = 'silu' | 'gelu' | 'gelu_tanh' | 'relu'
type AdamWNumbers = readonly [
  step: number,
  learningRate: number,
  beta1: number,
  beta2: number,
  epsilon: number,
  weightDecay: number,
  gradientScale: number,
]
/** After the listed arguments of a factory: layout is always strided. */
type Layout = undefined

interface Row<F> {
  name: string
  optional: boolean
  type?: F
}
const aten = <F>(name: string): Row<F> => ({ name: `aten::${name}`, optional: false })
const prospect = <F>(name: string): Row<F> => ({ name: `prospect::${name}`, optional: false })

/**
 * Every operator that Prospect calls: its name in libtorch and its type here, in the schema's order. The list is checked against the loaded
 * libtorch. Those called `prospect::` are this project's own kernels, native/kernels/.
 */
const rows = {
  // making
  empty: aten<(size: Shape, dtype?: Dtype, layout?: Layout, device?: string) => T>('empty.memory_format'),
  zeros: aten<(size: Shape, dtype?: Dtype, layout?: Layout, device?: string) => T>('zeros'),
  ones: aten<(size: Shape, dtype?: Dtype, layout?: Layout, device?: string) => T>('ones'),
  full: aten<(size: Shape, value: number, dtype?: Dtype, layout?: Layout, device?: string) => T>('full'),
  arange: aten<(end: number, dtype?: Dtype, layout?: Layout, device?: string) => T>('arange'),
  zerosLike: aten<Unary>('zeros_like'),
  normal: aten<(self: T, mean?: number, standardDeviation?: number, generator?: number) => T>('normal_'),
  uniform: aten<(self: T, from?: number, to?: number, generator?: number) => T>('uniform_'),
  // arithmetic
  add: aten<(self: T, other: T, alpha?: number) => T>('add.Tensor'),
  addScalar: aten<WithNumber>('add.Scalar'),
  sub: aten<(self: T, other: T, alpha?: number) => T>('sub.Tensor'),
  subScalar: aten<WithNumber>('sub.Scalar'),
  mul: aten<Binary>('mul.Tensor'),
  mulScalar: aten<WithNumber>('mul.Scalar'),
  div: aten<Binary>('div.Tensor'),
  divScalar: aten<WithNumber>('div.Scalar'),
  neg: aten<Unary>('neg'),
  exp: aten<Unary>('exp'),
  log: aten<Unary>('log'),
  cos: aten<Unary>('cos'),
  sin: aten<Unary>('sin'),
  sqrt: aten<Unary>('sqrt'),
  rsqrt: aten<Unary>('rsqrt'),
  square: aten<Unary>('square'),
  powScalar: aten<WithNumber>('pow.Tensor_Scalar'),
  sigmoid: aten<Unary>('sigmoid'),
  logSigmoid: aten<Unary>('log_sigmoid'),
  silu: aten<Unary>('silu'),
  gelu: aten<(self: T, approximate: 'none' | 'tanh') => T>('gelu'),
  tanh: aten<Unary>('tanh'),
  relu: aten<Unary>('relu'),
  clampMin: aten<WithNumber>('clamp_min'),
  clamp: aten<(self: T, low?: number | null, high?: number | null) => T>('clamp'),
  minimum: aten<Binary>('minimum'),
  abs: aten<Unary>('abs'),
  expm1: aten<Unary>('expm1'),
  gtScalar: aten<WithNumber>('gt.Scalar'),
  where: aten<(condition: T, self: T, other: T) => T>('where.self'),
  // reductions
  sum: aten<(self: T, dtype?: Dtype) => T>('sum'),
  sumDims: aten<(self: T, dims: Shape, keepDims?: boolean) => T>('sum.dim_IntList'),
  mean: aten<(self: T, dtype?: Dtype) => T>('mean'),
  meanDims: aten<(self: T, dims: Shape, keepDims?: boolean) => T>('mean.dim'),
  softmax: aten<(self: T, dim: number, dtype?: Dtype) => T>('softmax.int'),
  logSoftmax: aten<(self: T, dim: number, dtype?: Dtype) => T>('log_softmax.int'),
  argmax: aten<(self: T, dim?: number | null, keepDim?: boolean) => T>('argmax'),
  allFinite: aten<Unary>('isfinite'),
  all: aten<Unary>('all'),
  // matrices
  layerNorm: aten<(input: T, shape: Shape, weight: T | null, bias: T | null, epsilon: number) => T>('layer_norm'),
  matmul: aten<Binary>('matmul'),
  // shape
  view: aten<(self: T, size: Shape) => T>('view'),
  reshape: aten<(self: T, size: Shape) => T>('reshape'),
  transpose: aten<(self: T, dim0: number, dim1: number) => T>('transpose.int'),
  contiguous: aten<Unary>('contiguous'),
  unsqueeze: aten<WithNumber>('unsqueeze'),
  expand: aten<(self: T, size: Shape) => T>('expand'),
  narrow: aten<(self: T, dim: number, start: number, length: number) => T>('narrow'),
  cat: aten<(tensors: readonly T[], dim?: number) => T>('cat'),
  stack: aten<(tensors: readonly T[], dim?: number) => T>('stack'),
  splitWithSizes: aten<(self: T, sizes: Shape, dim?: number) => T[]>('split_with_sizes'),
  outer: aten<Binary>('outer'),
  triu: aten<(self: T, diagonal?: number) => T>('triu'),
  tril: aten<(self: T, diagonal?: number) => T>('tril'),
  // indexing
  embedding: aten<(weight: T, indices: T) => T>('embedding'),
  indexSelect: aten<(self: T, dim: number, index: T) => T>('index_select'),
  indexAdd: aten<(self: T, dim: number, index: T, source: T) => T>('index_add'),
  gather: aten<(self: T, dim: number, index: T) => T>('gather'),
  // sampling
  topk: aten<(self: T, count: number, dim?: number, largest?: boolean, sorted?: boolean) => [values: T, indices: T]>(
    'topk',
  ),
  cumsum: aten<(self: T, dim: number, dtype?: Dtype) => T>('cumsum'),
  searchSorted: aten<(sorted: T, self: T, int32?: boolean, right?: boolean) => T>('searchsorted.Tensor'),
  ge: aten<Binary>('ge.Tensor'),
  ltScalar: aten<WithNumber>('lt.Scalar'),
  geScalar: aten<WithNumber>('ge.Scalar'),
  indexCopyInPlace: aten<(self: T, dim: number, index: T, source: T) => T>('index_copy_'),
  // copies and types
  toDtype: aten<(self: T, dtype: Dtype, nonBlocking?: boolean, copy?: boolean) => T>('to.dtype'),
  toDevice: aten<(self: T, device: string, dtype: Dtype, nonBlocking?: boolean, copy?: boolean) => T>('to.device'),
  clone: aten<Unary>('clone'),
  detach: aten<Unary>('detach'),
  // in place
  copyInPlace: aten<(self: T, source: T) => T>('copy_'),
  addInPlace: aten<(self: T, other: T, alpha?: number) => T>('add_.Tensor'),
  mulScalarInPlace: aten<WithNumber>('mul_.Scalar'),
  zeroInPlace: aten<Unary>('zero_'),
  // lists of tensors at once
  foreachMulScalarInPlace: aten<(self: readonly T[], scalar: number) => void>('_foreach_mul_.Scalar'),
  // this project's kernels
  tokenLogps:
    prospect<(hidden: T, weight: T, targets: T, chunk: number, softCap?: number, master?: T | null) => T>(
      'token_logps',
    ),
  tokenEmbedding: prospect<(weight: T, tokens: T) => T>('token_embedding'),
  linear: prospect<(input: T, weight: T, bias?: T | null, master?: T | null) => T>('linear'),
  rmsNorm: prospect<(x: T, scale: T, epsilon: number, offset?: number, dtype?: Dtype) => T>('rms_norm'),
  addRmsNorm:
    prospect<(x: T, delta: T, scale: T, epsilon: number, offset?: number, dtype?: Dtype) => [total: T, normed: T]>(
      'add_rms_norm',
    ),
  rotaryEmbedding: prospect<(queries: T, keys: T, cos: T, sin: T) => [queries: T, keys: T]>('rotary_embedding'),
  gatedActivation: prospect<(gate: T, up: T, activation: Activation) => T>('gated_activation'),
  gatedLinear: prospect<(gate: T, up: T, activation: Activation, weight: T, master?: T | null) => T>('gated_linear'),
  segmentAttention:
    prospect<
      (
        queries: T,
        keys: T,
        values: T,
        segments: T,
        scale: number,
        window?: number,
        softCap?: number,
        contextKeys?: T | null,
        contextValues?: T | null,
      ) => T
    >('segment_attention'),
  pagedAttention:
    prospect<
      (
        queries: T,
        keys: T,
        values: T,
        keyPool: T,
        valuePool: T,
        pages: T,
        rows: T,
        positions: T,
        scale: number,
        window: number,
        softCap: number,
      ) => T
    >('paged_attention_'),
  drawTokens:
    prospect<
      (
        logits: T,
        shares: T,
        seen: T,
        seenEnds: T,
        temperature: number,
        topK: number,
        topP: number,
        minP: number,
        repetitionPenalty: number,
      ) => [tokens: T, logps: T]
    >('draw_tokens'),
  quantize: prospect<(weight: T, bits: number, nestedScales: boolean) => [data: T, absmax: T, nested: T]>('quantize'),
  dequantize: prospect<(data: T, absmax: T, nested: T, shape: Shape, bits: number, dtype: Dtype) => T>('dequantize'),
  quantizedLinear:
    prospect<(input: T, data: T, absmax: T, nested: T, rows: number, bits: number) => T>('quantized_linear'),
  keyedDropout: prospect<(input: T, keys: T, seed: number, share: number) => T>('keyed_dropout'),
  gradientNorm: prospect<(gradients: readonly T[]) => number>('gradient_norm'),
  adamw:
    prospect<
      (
        parameters: readonly T[],
        gradients: readonly T[],
        firstMoments: readonly T[],
        secondMoments: readonly T[],
        ...numbers: AdamWNumbers
      ) => void
    >('adamw_'),
  adamw8bit:
    prospect<
      (
        parameters: readonly T[],
        gradients: readonly T[],
        firstCodes: readonly T[],
        firstScales: readonly T[],
        secondCodes: readonly T[],
        secondScales: readonly T[],
        ...numbers: AdamWNumbers
      ) => void
    >('adamw_8bit_'),
} as const

type Rows = typeof rows
type Functions = { [K in keyof Rows]: Rows[K] extends Row<infer F> ? F : never }
type AnyFunction = (...values: unknown[]) => unknown

/** The operators, callable. The first call of any of them loads libtorch and binds them all. */
export const op = stubs()

function stubs(): Functions {
  const table: Record<string, AnyFunction> = {}
  for (const key of Object.keys(rows)) {
    table[key] = (...values) => {
      bindOperators()
      return table[key]!(...values)
    }
  }
  return table as unknown as Functions
}

/** Set to `composed`, the processor computes with the compositions that other devices use in place of this project's kernels: to compare them. */
const kernels = process.env.PROSPECT_KERNELS

/** Replaces each stub by the operator itself. Throws where this libtorch lacks one, naming all that it lacks. */
export function bindOperators(): void {
  const native = addon()
  const missing: string[] = []
  for (const [key, row] of Object.entries(rows)) {
    const name = kernels === 'composed' ? row.name.replace(/^prospect::/, 'prospect_composed::') : row.name
    const index = native.operatorIndex(name)
    if (index < 0) missing.push(name)
    else (op as unknown as Record<string, AnyFunction>)[key] = compile(native, index)
  }
  if (missing.length > 0)
    throw new Error(`libtorch ${native.engine().version} lacks ${missing.join(', ')}: use 1.13 or newer`)
}

type Own = { [K in keyof Rows]: (typeof rows)[K]['name'] extends `aten::${string}` ? never : K }[keyof Rows]

/** This project's operators as other devices compute them, for tensors on any device: to compare them with the kernels. */
export function compositions(): Pick<Functions, Own> {
  const native = addon()
  const own = Object.entries(rows).filter(([, { name }]) => name.startsWith('prospect::'))
  const entries = own.map(([key, { name }]) => {
    const index = native.operatorIndex(name.replace('prospect::', 'prospect_composed::'))
    return [key, compile(native, index)]
  })
  return Object.fromEntries(entries) as Pick<Functions, Own>
}

/**
 * One function an overload, with its arguments written out: a generic one with rest arguments costs twice as much a call. The text comes
 * from libtorch's own schema, never from input.
 */
function compile(native: Addon, index: number): AnyFunction {
  const schema = native.operatorSchema(index)
  const names = schema.arguments.map((_, i) => `a${i}`)
  const values = schema.arguments.map(({ tensor, list }, i) => {
    if (!tensor) return `a${i}`
    return list ? `a${i}.map(handle)` : `(a${i} == null ? a${i} : a${i}.handle)`
  })
  const body = `return (${names.join(', ')}) => wrap(call(${[index, ...values].join(', ')}))`
  const wrap = /-> Tensor(\([a-z!]+\))?$/.test(schema.text) ? (handle: number) => new Tensor(handle) : wrapResult
  return new Function('call', 'handle', 'wrap', body)(native.call, (t: Tensor | null) => t?.handle ?? null, wrap)
}

function wrapResult(result: unknown): unknown {
  return Array.isArray(result) ? result.map((value) => (typeof value === 'number' ? new Tensor(value) : value)) : result
}
