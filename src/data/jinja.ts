import { Template } from '@huggingface/jinja'
import { compileTemplate } from './template-compiler.ts'
import { type Callable, leave } from './template-values.ts'

type Node = { type?: string } & Record<string, unknown>

/**
 * Compiles a template. `strip`, `lstrip`, `rstrip` and the filter `trim` are Python's: the library ignores which characters to strip (as in
 * Qwen3's `content.lstrip('\n')`), and takes JavaScript's white space for Python's.
 */
export function compile(source: string): CompiledTemplate {
  const template = new Template(source)
  rewrite(template.parsed as unknown as Node)
  const slow = (variables: Variables) => template.render({ ...stripFunctions, ...variables })
  const fast = compileTemplate(template.parsed, { ...compiledFunctions, strftime_now: dateText })
  let [tries, failures] = [0, 0]
  return {
    render(variables) {
      if (failures >= enoughFailures && failures * 2 > tries) return slow(variables)
      tries++
      try {
        return fast(variables)
      } catch {
        failures++
        return slow(variables)
      }
    },
    renderSlowly: slow,
    leftToLibrary: () => failures,
  }
}

/** The date as the library writes it, which takes it longer than all the rest: once a second is enough. */
function dateText([format]: readonly unknown[]): string {
  const second = Math.floor(Date.now() / 1000)
  if (lastDate?.second !== second || lastDate.format !== format) {
    const text = new Template('{{ strftime_now(format) }}').render({ format })
    lastDate = { second, format, text }
  }
  return lastDate.text
}
let lastDate: { second: number; format: unknown; text: string } | null = null

type Variables = Readonly<Record<string, unknown>>

export interface CompiledTemplate {
  render(variables: Variables): string
  /** By the library alone: for tests that compare. */
  renderSlowly(variables: Variables): string
  /** How many renderings needed the library. */
  leftToLibrary(): number
}

/** A template that mostly comes to what only the library knows is left to it. */
const enoughFailures = 20

const prefix = 'prospect_'
const methods = ['strip', 'lstrip', 'rstrip']

/** What rewritten templates call. */
const stripFunctions = Object.fromEntries(
  methods.map((method) => [prefix + method, (text: unknown, characters?: unknown) => strip(method, text, characters)]),
)

/** The functions as compiled templates call them: with a list of values. */
const compiledFunctions: Readonly<Record<string, Callable>> = Object.fromEntries(
  methods.map((method) => [
    prefix + method,
    ([text, characters]: readonly unknown[]) => (typeof text === 'string' ? strip(method, text, characters) : leave()),
  ]),
)

/** `text.lstrip(characters)` becomes `prospect_lstrip(text, characters)`, wherever it stands. */
function rewrite(node: Node): void {
  for (const child of Object.values(node).flat()) if (isNode(child)) rewrite(child)
  const call = methodCall(node) ?? trimFilter(node)
  if (!call) return
  for (const key of Object.keys(node)) delete node[key]
  const callee = { type: 'Identifier', value: prefix + call.method }
  Object.assign(node, { type: 'CallExpression', callee, args: [call.object, ...call.args] })
}

interface StripCall {
  method: string
  object: unknown
  args: unknown[]
}

function methodCall({ type, callee, args }: Node): StripCall | null {
  if (type !== 'CallExpression' || !isNode(callee) || callee.type !== 'MemberExpression' || callee.computed) return null
  const method = (callee.property as Node).value
  if (!methods.includes(method as string)) return null
  return { method: method as string, object: callee.object, args: args as unknown[] }
}

function trimFilter({ type, operand, filter }: Node): StripCall | null {
  if (type !== 'FilterExpression' || !isNode(filter) || filter.type !== 'Identifier' || filter.value !== 'trim')
    return null
  return { method: 'strip', object: operand, args: [] }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null
}

// str.isspace()
const whiteSpace = '\t\n\v\f\r\x1c-\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000'

function strip(method: string, value: unknown, characters: unknown): string {
  const text = String(value ?? '')
  const set = typeof characters === 'string' ? characters.replace(/[\\\]^-]/g, '\\$&') : whiteSpace
  if (set === '') return text
  const start = method === 'rstrip' ? text : text.replace(new RegExp(`^[${set}]+`, 'u'), '')
  if (method === 'lstrip') return start
  const end = new RegExp(`[${set}]`, 'u')
  const characterList = Array.from(start)
  let length = characterList.length
  while (length > 0 && end.test(characterList[length - 1]!)) length-- // a pattern with $ would take quadratic time
  return characterList.slice(0, length).join('')
}
