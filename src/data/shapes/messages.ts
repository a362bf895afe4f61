import { brief } from '../origin.ts'
import type { Message } from '../types.ts'
import type { Fields } from './shape.ts'

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Messages of any vendor as chat templates know them. Throws naming the message that is none. */
export function messagesOf(value: readonly unknown[], name: string): Message[] {
  return value.flatMap((message, i) => messageOf(message, `${name}[${i}]`))
}

/** Usually one; a turn of Vercel's UI that used tools is several. */
function messageOf(value: unknown, name: string): Message[] {
  if (isObject(value)) {
    if (Array.isArray(value.parts) && typeof value.role === 'string') return uiMessage(value.role, value.parts, name)
    const chain = langChainMessage(value)
    if (chain) return [chain]
    const item = responseItem(value)
    if (item) return item
    if (typeof value.role === 'string') {
      const { role, content } = value
      if (typeof content === 'string') return [value as Message]
      if (content == null && value.tool_calls) return [value as Message]
      if (content == null && isObject(value.function_call)) return [value as Message]
      if (Array.isArray(content)) return partsMessage(role, content, value, name)
    }
  }
  throw new Error(`${name} must be a message {role, content} whose content is a text, got ${brief(value)}`)
}

interface ToolCall {
  id: string
  type: 'function'
  function: { name: string; arguments: unknown }
}

function toolCall(id: unknown, name: unknown, input: unknown): ToolCall {
  return { id: String(id ?? ''), type: 'function', function: { name: String(name), arguments: input ?? {} } }
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** OpenAI's content parts, and Vercel's ModelMessage with tool calls and results among the parts. */
function partsMessage(role: string, parts: readonly unknown[], message: Fields, name: string): Message[] {
  const texts: string[] = []
  const calls: ToolCall[] = []
  const results: Message[] = []
  for (const part of parts) {
    if (isObject(part)) {
      const { type } = part
      if (
        typeof part.text === 'string' &&
        (type === 'text' || type === 'input_text' || type === 'output_text' || type === undefined)
      )
        texts.push(part.text)
      else if (type === 'refusal') texts.push(String(part.refusal))
      else if (type === 'reasoning' || type === 'thinking' || type === 'redacted-reasoning') continue
      else if (type === 'tool-call') calls.push(toolCall(part.toolCallId, part.toolName, part.input ?? part.args))
      else if (type === 'tool_use') calls.push(toolCall(part.id, part.name, part.input))
      else if (type === 'tool-result')
        results.push(toolResult(part.toolCallId, part.toolName, outputOf(part.output ?? part.result)))
      else
        throw new Error(
          `${name} has a part that is not text: ${brief(part)}; leave such rows out with --where or --on-bad-row skip`,
        )
    } else throw new Error(`${name} must be a message {role, content} whose content is a text, got ${brief(message)}`)
  }
  if (results.length > 0 && texts.length === 0 && calls.length === 0) return results
  const { content: _, ...rest } = message
  const toolCalls = calls.length > 0 ? { tool_calls: calls } : {}
  return [{ ...rest, role, content: texts.join(''), ...toolCalls }, ...results]
}

/** Items of OpenAI's responses that are no messages: calls of functions, their outputs, and reasoning, which is not part of what was said. */
function responseItem({ type, call_id: id, name, arguments: input, output }: Fields): Message[] | null {
  if (type === 'reasoning') return []
  if (type === 'function_call')
    return [{ role: 'assistant', content: '', tool_calls: [toolCall(id, name, parsedInput(input))] }]
  return type === 'function_call_output' ? [toolResult(id, undefined, output)] : null
}

function parsedInput(input: unknown): unknown {
  try {
    return typeof input === 'string' ? JSON.parse(input) : input
  } catch {
    return input
  }
}

/** Vercel wraps outputs as {type: 'text' | 'json', value}. */
function outputOf(output: unknown): unknown {
  return isObject(output) && 'value' in output && 'type' in output ? output.value : output
}

function toolResult(id: unknown, name: unknown, output: unknown): Message {
  return {
    role: 'tool',
    content: asText(output ?? ''),
    tool_call_id: String(id ?? ''),
    ...(name ? { name: String(name) } : {}),
  }
}

/** A turn of Vercel's AI SDK UI: text, then tool calls with their results, then text again, in one list of parts. */
function uiMessage(role: string, parts: readonly unknown[], name: string): Message[] {
  const messages: Message[] = []
  let text = ''
  let calls: ToolCall[] = []
  let results: Message[] = []
  const flush = () => {
    if (text !== '' || calls.length > 0)
      messages.push({ role, content: text, ...(calls.length > 0 ? { tool_calls: calls } : {}) }, ...results)
    text = ''
    calls = []
    results = []
  }
  for (const part of parts) {
    if (!isObject(part)) throw new Error(`${name} has a part that is none: ${brief(part)}`)
    const type = String(part.type)
    const legacy = type === 'tool-invocation' && isObject(part.toolInvocation) ? part.toolInvocation : null
    if (type === 'text') {
      if (calls.length > 0) flush()
      text += String(part.text)
    } else if (legacy || type.startsWith('tool-') || type === 'dynamic-tool') {
      const toolName = legacy?.toolName ?? part.toolName ?? type.slice('tool-'.length)
      const call = legacy ?? part
      calls.push(toolCall(call.toolCallId, toolName, call.input ?? call.args))
      const output =
        call.output ?? call.result ?? (call.errorText === undefined ? undefined : `error: ${String(call.errorText)}`)
      if (output !== undefined) results.push(toolResult(call.toolCallId, toolName, output))
    } else if (type === 'step-start') flush()
    else if (type === 'file')
      throw new Error(`${name} has a file among its parts; leave such rows out with --where or --on-bad-row skip`)
  }
  flush()
  return messages.length > 0 ? messages : [{ role, content: '' }]
}

const chainRoles: Record<string, string> = {
  human: 'user',
  HumanMessage: 'user',
  HumanMessageChunk: 'user',
  ai: 'assistant',
  AIMessage: 'assistant',
  AIMessageChunk: 'assistant',
  system: 'system',
  SystemMessage: 'system',
  tool: 'tool',
  ToolMessage: 'tool',
  function: 'tool',
}

/** LangChain's messages: {type: 'human', content}, {type: 'human', data: {...}}, or serialised {lc: 1, id: [..., 'HumanMessage'], kwargs}. */
function langChainMessage(value: Fields): Message | null {
  const kind = Array.isArray(value.id) ? String(value.id.at(-1)) : String(value.type)
  const role = chainRoles[kind]
  if (role === undefined || typeof value.role === 'string') return null
  const body = isObject(value.kwargs) ? value.kwargs : isObject(value.data) ? value.data : value
  const { content } = body
  const text = Array.isArray(content)
    ? content.map((part) => (isObject(part) ? String(part.text ?? '') : String(part))).join('')
    : String(content ?? '')
  const extra = isObject(body.additional_kwargs) ? body.additional_kwargs.tool_calls : undefined
  const own = Array.isArray(body.tool_calls) && body.tool_calls.length > 0 ? body.tool_calls.filter(isObject) : null
  const calls = own ? own.map((call) => toolCall(call.id, call.name, call.args)) : extra
  return {
    role,
    content: text,
    ...(calls ? { tool_calls: calls } : {}),
    ...(role === 'tool' && body.tool_call_id ? { tool_call_id: body.tool_call_id } : {}),
  }
}

/** The judged turn and what came before it. A turn that used tools is judged by its last message: results are not the model's own words. */
export function beforeAndReply(
  messages: readonly Message[],
  name: string,
): { prompt: Message[]; completion: Message[] } {
  const last = messages.at(-1)
  if (last?.role !== 'assistant')
    throw new Error(`${name} must end with a turn of the assistant, got ${brief(last ?? [])}`)
  if (messages.length < 2) throw new Error(`${name} has one turn: it must have a prompt before the reply`)
  return { prompt: messages.slice(0, -1), completion: [last] }
}
