// The kernels of native/kernels as compositions of libtorch's own operators: what their tests compare them with.

import type { Attention, AttentionForm, Segment } from '../../src/model/attention.ts'
import type { Activation } from '../../src/model/config.ts'
import { activate, softCap } from '../../src/model/layers.ts'
import type { Rotation } from '../../src/model/rope.ts'
import { op } from '../../src/tensor/operators.ts'
import { outsideScopes, scope } from '../../src/tensor/scope.ts'
import { type Dtype, Tensor } from '../../src/tensor/tensor.ts'

/** RMSNorm (Zhang & Sennrich, arXiv 1910.07467), in float32; x [..., width], scale [width]. */
export function rmsNorm(x: Tensor, scale: Tensor, epsilon: number): Tensor {
  const exact = x.to('float32')
  const inverse = op.rsqrt(op.meanDims(op.square(exact), [-1], true).add(epsilon))
  return exact.mul(inverse).mul(scale)
}

/** activation(gate) up (Shazeer, arXiv 2002.05202), element by element. */
export function gated(gate: Tensor, up: Tensor, activation: Activation): Tensor {
  return activate(gate, activation).mul(up)
}

/**
 * x turned by its position; where the rotation is narrower than a head, the rest of the head stays. x [tokens, heads, headSize], of any float
 * type; the result is float32 where cos and sin are.
 */
export function rotate(x: Tensor, { cos, sin }: Rotation): Tensor {
  const headSize = x.shape[2]!
  const size = cos.shape[2]!
  const half = size / 2
  const moved = size === headSize ? x : x.narrow(2, 0, size)
  const turned = op.cat([x.narrow(2, half, half).neg(), x.narrow(2, 0, half)], 2)
  const rotated = moved.mul(cos).add(turned.mul(sin))
  return size === headSize ? rotated : op.cat([rotated, x.narrow(2, size, headSize - size).to(rotated.dtype)], 2)
}

/** Log-probabilities of targets out of all logits: states [targets, width], head [vocabulary, width] -> [targets]. */
export function tokenLogps(states: Tensor, head: Tensor, targets: Tensor, _rows: number, cap = 0): Tensor {
  const logits = softCap(states.matmul(head.transpose(0, 1)), cap || null)
  return op.gather(op.logSoftmax(logits, 1), 1, targets.view(-1, 1)).view(-1)
}

type Kernels = Pick<
  typeof op,
  | 'linear'
  | 'rmsNorm'
  | 'addRmsNorm'
  | 'rotaryEmbedding'
  | 'gatedActivation'
  | 'gatedLinear'
  | 'tokenEmbedding'
  | 'tokenLogps'
  | 'toDtype'
>
const plainKernels: Kernels = {
  tokenLogps,
  linear: (input, weight, bias) => {
    const product = input.matmul(weight.transpose(0, 1))
    return bias ? product.add(bias) : product
  },
  rmsNorm: (x, scale, epsilon, offset = 0) => rmsNorm(x, scale.add(offset), epsilon),
  addRmsNorm: (x, delta, scale, epsilon, offset = 0) => {
    const total = x.add(delta)
    return [total, rmsNorm(total, scale.add(offset), epsilon)]
  },
  rotaryEmbedding: (queries, keys, cos, sin) => [rotate(queries, { cos, sin }), rotate(keys, { cos, sin })],
  gatedActivation: (gate, up, activation) => gated(gate, up, activation),
  gatedLinear: (gate, up, activation, weight) => gated(gate, up, activation).matmul(weight.transpose(0, 1)),
  tokenEmbedding: (weight, tokens) => op.embedding(weight, tokens),
  toDtype: (self) => self,
}

/**
 * Runs `work` with the compositions of this file in place of the kernels (but for attention, which decoders are given), all in the type that the
 * weights have: with float64 ones, nothing is rounded to float32.
 */
export function withPlainKernels<R>(work: () => R): R {
  const table = op as { -readonly [K in keyof Kernels]: Kernels[K] }
  const fused = Object.fromEntries(Object.keys(plainKernels).map((key) => [key, op[key as keyof Kernels]]))
  try {
    Object.assign(table, plainKernels)
    return work()
  } finally {
    Object.assign(table, fused)
  }
}

/**
 * Causal attention within the segments of a packed stream, each completion seeing its prompt and itself. Segments of one shape are computed
 * together: with many short rows, as feedback has them, it is the number of operators that costs.
 */
export function plainAttention(segments: readonly Segment[]): Attention {
  const shapes = sameShapes(segments)
  const { queries: queryOrder, context: contextOrder, back } = streamIndices(segments, shapes)
  return (_layer, queries, keys, values, form) => {
    const [, heads, headSize] = queries.shape as [number, number, number]
    const groups = keys.shape[1]!
    const ofShapes = (x: Tensor, order: Tensor, lengthOf: (shape: Shape) => number) =>
      op.splitWithSizes(
        takeRows(x, order),
        shapes.map((shape) => shape.members.length * lengthOf(shape)),
      )
    const q = ofShapes(queries.mul(form.scale), queryOrder, ({ length }) => length)
    const k = ofShapes(keys, contextOrder, ({ context }) => context)
    const v = ofShapes(values, contextOrder, ({ context }) => context)
    const outputs = shapes.map(({ members, length, context }, i) =>
      attend(
        q[i]!.view(members.length, length, heads, headSize),
        k[i]!.view(members.length, context, groups, headSize),
        v[i]!.view(members.length, context, groups, headSize),
        form,
      ).reshape(-1, heads * headSize),
    )
    return takeRows(op.cat(outputs, 0), back)
  }
}

/** Segments with equally many tokens, and equally many in their parents. */
interface Shape {
  length: number
  /** Tokens seen: the parent's and the segment's own. */
  context: number
  members: Segment[]
}

function sameShapes(segments: readonly Segment[]): Shape[] {
  const shapes = new Map<string, Shape>()
  for (const segment of segments) {
    const { length } = segment
    const context = length + (segments[segment.parent]?.length ?? 0)
    const key = `${length},${context}`
    const shape = shapes.get(key)
    if (shape) shape.members.push(segment)
    else shapes.set(key, { length, context, members: [segment] })
  }
  return [...shapes.values()]
}

/** Which tokens of the stream the shapes take as queries and as context, one segment after the other; and the way back to the stream. */
function streamIndices(segments: readonly Segment[], shapes: readonly Shape[]) {
  const queries: number[] = []
  const context: number[] = []
  const push = (into: number[], { start, length }: Segment) => {
    for (let token = start; token < start + length; token++) into.push(token)
  }
  for (const segment of shapes.flatMap(({ members }) => members)) {
    const parent = segments[segment.parent]
    if (parent) push(context, parent)
    push(context, segment)
    push(queries, segment)
  }
  const back = new Int32Array(queries.length)
  for (const [place, token] of queries.entries()) back[token] = place
  const index = (values: ArrayLike<number>) => Tensor.from(Int32Array.from(values), [values.length], 'int64')
  return { queries: index(queries), context: index(context), back: index(back) }
}

/** Rows of x by their index, x flattened to two dimensions. As an embedding, since its backward runs on all threads. */
function takeRows(x: Tensor, index: Tensor): Tensor {
  return op.embedding(x.reshape(x.shape[0]!, -1), index.on(x.device))
}

/**
 * Attention of several runs of `length` tokens over the `context` keys up to and including their own. queries [runs, length, heads, headSize],
 * scaled already; keys and values [runs, context, keyValueHeads, headSize], the last `length` of them the queries' own -> as queries.
 */
function attend(queries: Tensor, keys: Tensor, values: Tensor, { softCap: cap, window }: AttentionForm): Tensor {
  const [runs, length, heads, headSize] = queries.shape as [number, number, number, number]
  const [, context, groups] = keys.shape as [number, number, number]
  const shared = heads / groups // query heads that share one key-value head become more rows of one product
  const byHead = (x: Tensor) => x.transpose(1, 2).reshape(runs * groups, context, headSize)
  const q = queries.view(runs, length, groups, shared, headSize).transpose(1, 2).transpose(2, 3)
  const scores = q.reshape(runs * groups, shared * length, headSize).matmul(byHead(keys).transpose(1, 2))
  const capped = softCap(scores, cap).view(runs * groups, shared, length, context)
  const masked = capped.add(causalMask(length, context, scores.dtype, window).on(scores.device))
  const weights = op
    .softmax(masked, -1, masked.dtype === 'float64' ? 'float64' : 'float32')
    .to(values.dtype)
    .view(runs * groups, shared * length, context)
  const mixed = weights.matmul(byHead(values)).view(runs, groups, shared, length, headSize)
  return mixed.transpose(2, 3).transpose(1, 2).reshape(runs, length, heads, headSize)
}

const masks = new Map<string, { mask: Tensor; size: number }>()

/**
 * 0 where query i of `length` sees key j of `context`, else -infinity; the last keys are the queries' own. With a window, the nearest so many
 * keys are seen. [length, context]
 */
function causalMask(length: number, context: number, dtype: Dtype, window: number | null): Tensor {
  const narrow = window !== null && window < context ? window : null
  const name = `${dtype} ${narrow}`
  let known = masks.get(name)
  if (!known || known.size < context) {
    known?.mask.dispose()
    const size = Math.max(128, 2 ** Math.ceil(Math.log2(context)))
    known = { mask: outsideScopes(() => squareMask(size, dtype, narrow)), size }
    masks.set(name, known)
  }
  return known.mask.narrow(0, context - length, length).narrow(1, 0, context)
}

function squareMask(size: number, dtype: Dtype, window: number | null): Tensor {
  return scope(() => {
    const unseen = op.full([size, size], Number.NEGATIVE_INFINITY, 'float32')
    const later = op.triu(unseen, 1)
    return (window === null ? later : later.add(op.tril(unseen, -window))).to(dtype)
  })
}
