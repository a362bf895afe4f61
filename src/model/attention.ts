import { op } from '../tensor/operators.ts'
import { outsideScopes, scope } from '../tensor/scope.ts'
import type { Dtype, Tensor } from '../tensor/tensor.ts'

/** A run of tokens in a packed stream. Its tokens see those before them in the segment, and all of the parent segment (-1: none). */
export interface Segment {
  start: number
  length: number
  parent: number
}

/** Queries [tokens, heads, headSize], keys and values [tokens, keyValueHeads, headSize], after rotation -> [tokens, heads x headSize]. */
export type Attention = (layer: number, queries: Tensor, keys: Tensor, values: Tensor) => Tensor

/** Causal attention within the segments of a packed stream, each completion seeing its prompt and itself. */
export function segmentAttention(segments: readonly Segment[]): Attention {
  return (_layer, queries, keys, values) => {
    const [, heads, headSize] = queries.shape as [number, number, number]
    const scaled = queries.mul(headSize ** -0.5)
    const outputs = segments.map((segment) => {
      const parent = segment.parent < 0 ? null : segments[segment.parent]!
      return attend(part(scaled, segment), withParent(keys, segment, parent), withParent(values, segment, parent))
    })
    const all = outputs.length === 1 ? outputs[0]! : op.cat(outputs, 0)
    return all.reshape(-1, heads * headSize)
  }
}

function part(x: Tensor, { start, length }: Segment): Tensor {
  return x.narrow(0, start, length)
}

function withParent(x: Tensor, segment: Segment, parent: Segment | null): Tensor {
  return parent ? op.cat([part(x, parent), part(x, segment)], 0) : part(x, segment)
}

/**
 * Attention of one run of tokens over the keys up to and including its own. queries [length, heads, headSize], scaled already; keys and
 * values [context, keyValueHeads, headSize], the last `length` of them the queries' own -> [length, heads, headSize].
 */
export function attend(queries: Tensor, keys: Tensor, values: Tensor): Tensor {
  const [length, heads, headSize] = queries.shape as [number, number, number]
  const [context, groups] = keys.shape as [number, number]
  const shared = heads / groups // query heads that share one key-value head become more rows of one product
  const q = queries
    .view(length, groups, shared, headSize)
    .transpose(0, 1)
    .transpose(1, 2)
    .reshape(groups, shared * length, headSize)
  const scores = q.matmul(keys.transpose(0, 1).transpose(1, 2))
  const masked = scores.view(groups, shared, length, context).add(causalMask(length, context, scores.dtype))
  const weights = op
    .softmax(masked, -1, 'float32')
    .to(values.dtype)
    .view(groups, shared * length, context)
  const mixed = weights.matmul(values.transpose(0, 1)).view(groups, shared, length, headSize)
  return mixed.transpose(1, 2).transpose(0, 1).reshape(length, heads, headSize)
}

const masks = new Map<Dtype, { mask: Tensor; size: number }>()

/** 0 where query i of `length` sees key j of `context`, else -infinity; the last keys are the queries' own. [length, context] */
function causalMask(length: number, context: number, dtype: Dtype): Tensor {
  let known = masks.get(dtype)
  if (!known || known.size < context) {
    known?.mask.dispose()
    const size = Math.max(128, 2 ** Math.ceil(Math.log2(context)))
    const mask = outsideScopes(() =>
      scope(() => op.triu(op.full([size, size], Number.NEGATIVE_INFINITY, 'float32'), 1).to(dtype)),
    )
    known = { mask, size }
    masks.set(dtype, known)
  }
  return known.mask.narrow(0, context - length, length).narrow(1, 0, context)
}
