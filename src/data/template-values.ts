/** Values of a template as JavaScript has them: texts, whole numbers, truths, lists, objects of texts; null is none, undefined undefined. */
export type Value = unknown

// One object is thrown again and again: making errors is slow.
const unknown = new Error('the template does what is not known here')

/** Ends a rendering where a template does what is not known here, or nothing sensible: the library renders it then, or says what is wrong. */
export function leave(): never {
  throw unknown
}

/** What `namespace(...)` makes: the only object that templates write to. */
export class Namespace {
  readonly values = new Map<string, Value>()
}

export type Callable = (args: readonly Value[]) => Value

/** An object as JSON has it. */
export function isMapping(value: Value): value is Record<string, Value> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Namespace)
}

const isReference = (value: Value) => (typeof value === 'object' && value !== null) || typeof value === 'function'
const isWhole = (value: Value): value is number => Number.isSafeInteger(value)

export function isTrue(value: Value): boolean {
  if (Array.isArray(value)) return value.length > 0
  if (!isMapping(value)) return Boolean(value)
  for (const _ in value) return true
  return false
}

/** What a value prints. */
export function printed(value: Value): string {
  if (typeof value === 'string') return value
  if (value === null || value === undefined) return ''
  return isReference(value) ? leave() : String(value)
}

function joined(left: Value, right: Value): string {
  if (left === null || right === null || left === undefined || right === undefined) leave()
  if (isReference(left) || isReference(right)) leave()
  return String(left) + String(right)
}

function equal(left: Value, right: Value): boolean {
  if (isReference(left) || isReference(right)) {
    const isNothing = (value: Value) => value === null || value === undefined
    return isNothing(left) || isNothing(right) ? false : leave() // lists and texts compare in ways of their own
  }
  // biome-ignore lint/suspicious/noDoubleEquals: as the library compares
  return left == right
}

function contains(needle: Value, container: Value): boolean {
  if (needle === undefined || needle === null || container === null) leave()
  if (isReference(needle)) leave()
  if (Array.isArray(container)) return container.includes(needle)
  if (typeof needle !== 'string') leave()
  if (typeof container === 'string') return container.includes(needle)
  return isMapping(container) ? Object.hasOwn(container, needle) : leave()
}

function added(left: Value, right: Value): Value {
  if (isWhole(left) && isWhole(right)) return left + right
  if (Array.isArray(left) && Array.isArray(right)) return left.concat(right)
  return typeof left === 'string' || typeof right === 'string' ? joined(left, right) : leave()
}

const ofNumbers = (compute: (a: number, b: number) => Value) => (left: Value, right: Value) =>
  isWhole(left) && isWhole(right) ? compute(left, right) : leave()

const membership = (negate: boolean) => (left: Value, right: Value) =>
  right === undefined ? negate : contains(left, right) !== negate

/** Operators of two values that are both looked at. */
export const operators: Readonly<Record<string, (left: Value, right: Value) => Value>> = {
  '==': equal,
  '!=': (left, right) => !equal(left, right),
  in: membership(false),
  'not in': membership(true),
  '~': joined,
  '+': added,
  '-': ofNumbers((a, b) => a - b),
  '*': ofNumbers((a, b) => a * b),
  '%': ofNumbers((a, b) => (b === 0 ? leave() : a % b)),
  '//': ofNumbers((a, b) => (b === 0 ? leave() : Math.floor(a / b))),
  '<': ofNumbers((a, b) => a < b),
  '>': ofNumbers((a, b) => a > b),
  '<=': ofNumbers((a, b) => a <= b),
  '>=': ofNumbers((a, b) => a >= b),
}

export const tests: Readonly<Record<string, (value: Value) => boolean>> = {
  defined: (value) => value !== undefined,
  undefined: (value) => value === undefined,
  none: (value) => value === null,
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  true: (value) => value === true,
  false: (value) => value === false,
  mapping: isMapping,
  iterable: (value) => Array.isArray(value) || typeof value === 'string',
  sequence: (value) => Array.isArray(value) || typeof value === 'string' || isMapping(value),
}

const same = (value: Value) => value
const textsOf = (value: Value) =>
  Array.isArray(value) ? value.map((item) => (isReference(item) ? leave() : item)) : leave()

/** Filters without arguments, and those whose arguments are optional. */
export const filters: Readonly<Record<string, (value: Value, args: readonly Value[]) => Value>> = {
  safe: same,
  tojson: (value, args) => (args.length === 0 ? json(value) : leave()),
  length: (value) => {
    if (typeof value === 'string' || Array.isArray(value)) return value.length
    return isMapping(value) ? Object.keys(value).length : leave()
  },
  list: (value) => (Array.isArray(value) ? value : leave()),
  first: (value) => (Array.isArray(value) && value.length > 0 ? value[0] : leave()),
  last: (value) => (Array.isArray(value) && value.length > 0 ? value.at(-1) : leave()),
  reverse: (value) => (Array.isArray(value) ? value.toReversed() : leave()),
  string: (value) => (typeof value === 'string' ? value : leave()),
  upper: (value) => (typeof value === 'string' ? value.toUpperCase() : leave()),
  lower: (value) => (typeof value === 'string' ? value.toLowerCase() : leave()),
  items: (value) => (isMapping(value) ? Object.entries(value) : leave()),
  join: (value, [separator = '']) => (typeof separator === 'string' ? textsOf(value).join(separator) : leave()),
  default: (value, [instead = '', ifFalse = false]) =>
    value === undefined || (ifFalse === true && !isTrue(value)) ? instead : value,
  selectattr: (value, args) => bySelection(value, args, true),
  rejectattr: (value, args) => bySelection(value, args, false),
}

function bySelection(value: Value, [key, test, operand]: readonly Value[], select: boolean): Value {
  if (!Array.isArray(value) || !value.every(isMapping) || typeof key !== 'string') return leave()
  const known =
    test === undefined || ((test === 'equalto' || test === 'eq') && !isReference(operand)) || test === 'defined'
  if (!known) leave()
  return value.filter((item) => {
    if (!Object.hasOwn(item, key)) return !select
    const own = item[key]
    const found = test === undefined ? isTrue(own) : test === 'defined' ? own !== undefined : own === operand
    return found === select
  })
}

/** JSON as Python writes it. */
function json(value: Value): string {
  if (Array.isArray(value)) return `[${value.map(json).join(', ')}]`
  if (value instanceof Namespace || typeof value === 'function') return leave()
  if (!isMapping(value)) return value === undefined ? 'null' : JSON.stringify(value)
  return `{${Object.entries(value)
    .map(([key, item]) => `${JSON.stringify(key)}: ${json(item)}`)
    .join(', ')}}`
}

type Method<T> = (value: T, args: readonly Value[]) => Value
const text = (value: Value): string => (typeof value === 'string' ? value : leave())

export const textMethods: Readonly<Record<string, Method<string>>> = {
  upper: (value) => value.toUpperCase(),
  lower: (value) => value.toLowerCase(),
  startswith: (value, [start]) => value.startsWith(text(start)),
  endswith: (value, [end]) => value.endsWith(text(end)),
  split: (value, args) => (args.length === 1 && args[0] !== '' ? value.split(text(args[0])) : leave()),
  replace: (value, args) => {
    if (args.length !== 2 || args[0] === '') return leave()
    const [old, instead] = [text(args[0]), text(args[1])]
    return value.split(old).join(instead)
  },
}

export const mappingMethods: Readonly<Record<string, Method<Record<string, Value>>>> = {
  get: (value, [key, instead = null]) => {
    const own = Object.hasOwn(value, text(key)) ? value[key as string] : undefined
    return own === undefined ? (Object.hasOwn(value, key as string) ? leave() : instead) : own
  },
  items: (value) => Object.entries(value),
  keys: (value) => Object.keys(value),
  values: (value) => Object.values(value),
}

/** Members of lists and texts are their places and their length; of objects their keys. */
export function member(object: Value, key: Value): Value {
  if (object === undefined || object === null) return typeof key === 'string' ? undefined : leave()
  if (object instanceof Namespace) return typeof key === 'string' ? object.values.get(key) : leave()
  if (typeof object === 'string' || Array.isArray(object)) {
    if (isWhole(key)) return object.at(key)
    return key === 'length' ? object.length : typeof key !== 'string' || key in textMethods ? leave() : otherMember(key)
  }
  if (!isMapping(object) || typeof key !== 'string') return leave()
  if (Object.hasOwn(object, key)) return object[key]
  return key in mappingMethods || key === 'dictsort' ? leave() : undefined
}

/** Of texts there are more methods than are known here. */
function otherMember(key: string): undefined {
  return ['strip', 'lstrip', 'rstrip', 'title', 'capitalize'].includes(key) ? leave() : undefined
}

/** Python's slices. */
export function sliced(object: Value, start: Value, stop: Value, step: Value): Value {
  for (const part of [start, stop, step]) if (part !== undefined && !isWhole(part)) leave()
  const list = Array.isArray(object) ? object : typeof object === 'string' ? Array.from(object) : leave()
  const by = (step as number | undefined) ?? 1
  if (by === 0) leave()
  const [least, most] = by > 0 ? [0, list.length] : [-1, list.length - 1]
  const place = (at: Value, fallback: number) => {
    if (at === undefined) return fallback
    const from = (at as number) < 0 ? (at as number) + list.length : (at as number)
    return Math.min(most, Math.max(least, from))
  }
  if (by < 0 && stop === -1) leave() // the library takes it for the beginning
  const [begin, end] = [place(start, by > 0 ? 0 : list.length - 1), place(stop, by > 0 ? list.length : -1)]
  const picked: Value[] = []
  for (let i = begin; by > 0 ? i < end : i > end; i += by) picked.push(list[i])
  return Array.isArray(object) ? picked : picked.join('')
}
