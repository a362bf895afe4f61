import {
  type Callable,
  filters,
  isMapping,
  isTrue,
  leave,
  mappingMethods,
  member,
  Namespace,
  operators,
  printed,
  sliced,
  tests,
  textMethods,
  type Value,
} from './template-values.ts'

/** A part of a template as the library parses it. */
type Node = { type: string } & Record<string, unknown>
type Evaluate = (scope: Scope) => Value
type Write = (scope: Scope) => string

/** Names and what they stand for; loops have a scope of their own. */
class Scope {
  readonly #values = new Map<string, Value>()
  readonly #outer: Scope | null

  constructor(outer: Scope | null) {
    this.#outer = outer
  }
  set(name: string, value: Value): void {
    this.#values.set(name, value)
  }
  get(name: string): Value {
    const value = this.#values.get(name)
    return value === undefined && !this.#values.has(name) ? this.#outer?.get(name) : value
  }
}

const breaking = new Error('break outside of a loop')
const continuing = new Error('continue outside of a loop')

/**
 * A parsed template as functions: what the library renders node by node, each value wrapped in an object, twenty times as fast. Knows what chat
 * templates do with conversations; where a template comes to what it does not know (macros, tools written in unusual ways, dates, errors)
 * it throws, and the library is asked.
 */
export function compileTemplate(
  program: unknown,
  functions: Readonly<Record<string, Callable>> = {},
): (variables: Readonly<Record<string, Value>>) => string {
  const write = block((program as Node).body as Node[])
  const outer = new Scope(null)
  for (const [name, value] of Object.entries({ ...globals, ...functions })) outer.set(name, value)
  return (variables) => {
    const scope = new Scope(outer)
    for (const name in variables) scope.set(name, variables[name])
    return write(scope)
  }
}

const globals: Readonly<Record<string, Value>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception: leave,
  range: (args: readonly Value[]) => {
    if (args.length === 0 || args.length > 2 || !args.every(Number.isSafeInteger)) leave()
    const [start, stop] = (args.length === 1 ? [0, args[0]] : args) as [number, number]
    return Array.from({ length: Math.max(0, stop - start) }, (_, i) => start + i)
  },
}

function block(nodes: readonly Node[]): Write {
  const writers = nodes.map(statement)
  return (scope) => {
    let result = ''
    for (const write of writers) result += write(scope)
    return result
  }
}

const statements: Readonly<Record<string, (node: Node) => Write>> = {
  If: ifStatement,
  For: forStatement,
  Set: setStatement,
  Macro: (node) => (scope) => {
    scope.set((node.name as Node).value as string, leave)
    return ''
  },
  Break: () => () => {
    throw breaking
  },
  Continue: () => () => {
    throw continuing
  },
  Comment: () => () => '',
}

function statement(node: Node): Write {
  const known = statements[node.type]
  if (known) return known(node)
  if (node.type === 'StringLiteral') return () => node.value as string
  const evaluate = expression(node)
  return (scope) => printed(evaluate(scope))
}

function ifStatement({ test, body, alternate }: Node): Write {
  const [condition, then, otherwise] = [expression(test as Node), block(body as Node[]), block(alternate as Node[])]
  return (scope) => (isTrue(condition(scope)) ? then(scope) : otherwise(scope))
}

function setStatement({ assignee, value, body }: Node): Write {
  const target = assignee as Node
  const evaluate: Evaluate = value ? expression(value as Node) : block(body as Node[])
  if (target.type === 'Identifier' && target.value !== 'namespace')
    return (scope) => {
      scope.set(target.value as string, evaluate(scope))
      return ''
    }
  const property = target.property as Node | undefined
  if (target.type !== 'MemberExpression' || property?.type !== 'Identifier') return leave
  const objectOf = expression(target.object as Node)
  return (scope) => {
    const result = evaluate(scope)
    const object = objectOf(scope)
    if (!(object instanceof Namespace)) return leave()
    object.values.set(property.value as string, result)
    return ''
  }
}

function forStatement({ iterable, loopvar, body, defaultBlock }: Node): Write {
  const source = iterable as Node
  const selects = source.type === 'SelectExpression'
  const listOf = expression((selects ? source.lhs : source) as Node)
  const test = selects ? expression(source.test as Node) : null
  const [write, otherwise] = [block(body as Node[]), block(defaultBlock as Node[])]
  const bind = binding(loopvar as Node)
  return (outer) => {
    const scope = new Scope(outer)
    const items = itemsOf(listOf(scope)).filter((item) => {
      if (!test) return true
      const inner = new Scope(scope)
      bind(inner, item)
      return isTrue(test(inner))
    })
    let result = ''
    let written = false
    for (let i = 0; i < items.length; i++) {
      scope.set('loop', loopOf(items, i))
      bind(scope, items[i])
      try {
        result += write(scope)
      } catch (error) {
        if (error === continuing) continue
        if (error === breaking) break
        throw error
      }
      written = true
    }
    return written ? result : result + otherwise(scope)
  }
}

function itemsOf(value: Value): readonly Value[] {
  return Array.isArray(value) ? value : isMapping(value) ? Object.keys(value) : leave()
}

function loopOf(items: readonly Value[], i: number): Record<string, Value> {
  const { length } = items
  return {
    index: i + 1,
    index0: i,
    revindex: length - i,
    revindex0: length - i - 1,
    first: i === 0,
    last: i === length - 1,
    length,
    previtem: items[i - 1],
    nextitem: items[i + 1],
  }
}

function binding({ type, value }: Node): (scope: Scope, item: Value) => void {
  if (type === 'Identifier') return (scope, item) => scope.set(value as string, item)
  const names = type === 'TupleLiteral' ? (value as Node[]) : []
  if (names.length === 0 || names.some((name) => name.type !== 'Identifier')) return leave
  return (scope, item) => {
    if (!Array.isArray(item) || item.length !== names.length) return leave()
    for (const [i, name] of names.entries()) scope.set(name.value as string, item[i])
  }
}

const expressions: Readonly<Record<string, (node: Node) => Evaluate>> = {
  IntegerLiteral: constant,
  StringLiteral: constant,
  ArrayLiteral: ({ value }) => {
    const items = (value as Node[]).map(expression)
    return (scope) => items.map((item) => item(scope))
  },
  Identifier:
    ({ value }) =>
    (scope) =>
      scope.get(value as string),
  MemberExpression: memberExpression,
  CallExpression: callExpression,
  BinaryExpression: binaryExpression,
  UnaryExpression: unaryExpression,
  FilterExpression: filterExpression,
  TestExpression: testExpression,
  SelectExpression: ({ lhs, test }) => {
    const [value, condition] = [expression(lhs as Node), expression(test as Node)]
    return (scope) => (isTrue(condition(scope)) ? value(scope) : undefined)
  },
  Ternary: ({ condition, trueExpr, falseExpr }) => {
    const [test, then, otherwise] = [condition, trueExpr, falseExpr].map((node) => expression(node as Node))
    return (scope) => (isTrue(test!(scope)) ? then!(scope) : otherwise!(scope))
  },
}

/** A node that is not known ends the rendering where it is come to. */
function expression(node: Node): Evaluate {
  return expressions[node.type]?.(node) ?? leave
}

function constant({ value }: Node): Evaluate {
  return () => value
}

function memberExpression({ object, property, computed }: Node): Evaluate {
  const [objectOf, key] = [expression(object as Node), property as Node]
  if (computed && key.type === 'SliceExpression') {
    const [start, stop, step] = [key.start, key.stop, key.step].map((part) =>
      part ? expression(part as Node) : () => undefined,
    )
    return (scope) => sliced(objectOf(scope), start!(scope), stop!(scope), step!(scope))
  }
  if (!computed) return (scope) => member(objectOf(scope), key.value)
  const keyOf = expression(key)
  return (scope) => member(objectOf(scope), keyOf(scope))
}

function callExpression({ callee, args }: Node): Evaluate {
  const target = callee as Node
  const nodes = args as Node[]
  if (target.type === 'Identifier' && target.value === 'namespace') return namespaceCall(nodes)
  if (nodes.some(({ type }) => unusualArguments.has(type))) return leave
  const values = nodes.map(expression)
  const all = (scope: Scope) => values.map((value) => value(scope))
  if (target.type === 'MemberExpression' && !target.computed) {
    const [objectOf, name] = [expression(target.object as Node), (target.property as Node).value as string]
    return (scope) => methodCall(objectOf(scope), name, all(scope))
  }
  const functionOf = expression(target)
  return (scope) => {
    const callable = functionOf(scope)
    return typeof callable === 'function' ? (callable as Callable)(all(scope)) : leave()
  }
}

const unusualArguments = new Set(['KeywordArgumentExpression', 'SpreadExpression', 'KeywordSpreadExpression'])

function namespaceCall(nodes: readonly Node[]): Evaluate {
  if (nodes.some(({ type }) => type !== 'KeywordArgumentExpression')) return leave
  const values = nodes.map(({ key, value }) => [(key as Node).value as string, expression(value as Node)] as const)
  return (scope) => {
    const namespace = new Namespace()
    for (const [name, value] of values) namespace.values.set(name, value(scope))
    return namespace
  }
}

function methodCall(object: Value, name: string, args: readonly Value[]): Value {
  if (typeof object === 'string') return textMethods[name]?.(object, args) ?? leave()
  if (!isMapping(object) || Object.hasOwn(object, name)) return leave()
  const method = mappingMethods[name]
  return method ? method(object, args) : leave()
}

function binaryExpression({ operator, left, right }: Node): Evaluate {
  const [first, second, sign] = [
    expression(left as Node),
    expression(right as Node),
    (operator as Node).value as string,
  ]
  if (sign === 'and')
    return (scope) => {
      const value = first(scope)
      return isTrue(value) ? second(scope) : value
    }
  if (sign === 'or')
    return (scope) => {
      const value = first(scope)
      return isTrue(value) ? value : second(scope)
    }
  const compute = operators[sign]
  return compute ? (scope) => compute(first(scope), second(scope)) : leave
}

function unaryExpression({ operator, argument }: Node): Evaluate {
  const [value, sign] = [expression(argument as Node), (operator as Node).value as string]
  if (sign === 'not') return (scope) => !isTrue(value(scope))
  return sign === '-' ? (scope) => operators['*']!(value(scope), -1) : leave
}

function filterExpression({ operand, filter }: Node): Evaluate {
  const node = filter as Node
  const call = node.type === 'CallExpression'
  const name = (call ? (node.callee as Node).value : node.value) as string
  const args = call ? (node.args as Node[]) : []
  const apply = filters[name]
  if (!apply || args.some(({ type }) => unusualArguments.has(type))) return leave
  const [value, values] = [expression(operand as Node), args.map(expression)]
  return (scope) =>
    apply(
      value(scope),
      values.map((one) => one(scope)),
    )
}

function testExpression({ operand, test, negate }: Node): Evaluate {
  const check = tests[(test as Node).value as string]
  if (!check || (test as Node).type !== 'Identifier') return leave
  const value = expression(operand as Node)
  return (scope) => check(value(scope)) !== negate
}
