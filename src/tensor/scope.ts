import { addon } from './addon.ts'
import type { Tensor } from './tensor.ts'

// Tensors made in the innermost open scope; null outside of scopes.
let current: Set<Tensor> | null = null
// The safety net for tensors outside of scopes. It runs only when the collector does, so it does not replace scopes.
const abandoned = new FinalizationRegistry<number>((handle) => addon().drop(handle))

export function track(tensor: Tensor): void {
  if (current) current.add(tensor)
  else abandoned.register(tensor, tensor.handle, tensor)
}

export function untrack(tensor: Tensor): void {
  if (!current?.delete(tensor)) abandoned.unregister(tensor)
}

/**
 * Runs `work` and frees every tensor made in it but those in its result (a tensor, or arrays, maps and plain objects of them), which pass
 * to the scope around it. Synchronous: between an `await` and its result other code would run inside the scope.
 */
export function scope<R>(work: () => R): R {
  const parent = current
  const made = new Set<Tensor>()
  const kept = new Set<Tensor>()
  current = made
  try {
    const result = work()
    if (result instanceof Promise) throw new Error('scope() got a promise: do asynchronous work outside of it')
    collect(result, kept)
    return result
  } finally {
    current = parent
    for (const tensor of made) {
      if (kept.has(tensor)) track(tensor)
      else if (tensor.handle !== 0) {
        addon().drop(tensor.handle)
        tensor.handle = 0
      }
    }
  }
}

function collect(value: unknown, into: Set<Tensor>): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return
  if ('handle' in value && 'dispose' in value) into.add(value as Tensor)
  else if (value instanceof Map) for (const item of value.values()) collect(item, into)
  else if (Array.isArray(value)) for (const item of value) collect(item, into)
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) collect(item, into)
}

/** Runs `work` without recording operators for backward. */
export function noGrad<R>(work: () => R): R {
  const previous = addon().gradMode(false)
  try {
    return work()
  } finally {
    addon().gradMode(previous)
  }
}

/** Tensors alive in this process: what a leak test watches. */
export function liveTensors(): number {
  return addon().live()
}

/** Runs `work` as if no scope were open: what it makes lives until it is disposed. For what outlives a step, such as tables and parameters. */
export function outsideScopes<R>(work: () => R): R {
  const parent = current
  current = null
  try {
    return work()
  } finally {
    current = parent
  }
}
