import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type CompiledTemplate, compile } from './jinja.ts'
import type { Message } from './types.ts'

/** A function that a model may call, as the OpenAI API and Hugging Face's templates describe it. */
export type Tool = Record<string, unknown>

export interface TemplateOptions {
  /** Ends with what begins a reply. */
  addGenerationPrompt?: boolean
  /** Functions that the model may call. A template named `tool_use`, where there is one, is used for them. */
  tools?: readonly Tool[]
  /** Which of several named templates; `default` where not given. */
  template?: string
  /** Further variables of the template, as `enable_thinking`. */
  variables?: Record<string, unknown>
}

/** A model's chat templates by name. */
export class ChatTemplates {
  readonly #sources: ReadonlyMap<string, string>
  readonly #compiled = new Map<string, CompiledTemplate>()
  /** The text of special tokens by name, as `bos_token`. */
  readonly #tokens: Record<string, string>

  constructor(sources: ReadonlyMap<string, string>, tokens: Record<string, string>) {
    this.#sources = sources
    this.#tokens = tokens
  }

  /** The template that plain conversations use; null where there is none. */
  get main(): string | null {
    return this.#sources.get('default') ?? this.#sources.values().next().value ?? null
  }

  /** All of them, for hashes and copies. */
  get all(): [string, string][] {
    return [...this.#sources]
  }

  render(messages: readonly Message[], options: TemplateOptions = {}): string {
    const { addGenerationPrompt = false, tools, variables } = options
    return this.#template(options).render({
      ...this.#tokens,
      ...variables,
      messages: [...messages],
      tools: tools ? [...tools] : null,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
    })
  }

  #template({ tools, template }: TemplateOptions): CompiledTemplate {
    const name = template ?? (tools && this.#sources.has('tool_use') ? 'tool_use' : 'default')
    const source = this.#sources.get(name) ?? (template === undefined ? this.main : null)
    if (source === null) throw new Error(this.#missing(template))
    const known = this.#compiled.get(source)
    if (known) return known
    const compiled = compile(source)
    this.#compiled.set(source, compiled)
    return compiled
  }

  #missing(template?: string): string {
    const names = [...this.#sources.keys()]
    if (template !== undefined && names.length > 0)
      return `no chat template is named '${template}'; there are ${names.join(', ')}`
    return (
      'the model has no chat template, so messages have no text: prompts and completions must be texts, not messages; ' +
      'or pass --chat-template <file>, a Jinja template as in chat_template.jinja of a chat model'
    )
  }
}

/**
 * A folder's templates: `chat_template.jinja` and `additional_chat_templates/` (transformers 4.43 and later), `chat_template.json`, or
 * tokenizer_config.json, where it is one or a list of named ones.
 */
export function readTemplates(folder: string, config: Record<string, unknown>): Map<string, string> {
  const file = join(folder, 'chat_template.jinja')
  const more = additionalTemplates(join(folder, 'additional_chat_templates'))
  if (existsSync(file)) return new Map([['default', readFileSync(file, 'utf8')], ...more])
  const { chat_template: template } = { ...templateJson(join(folder, 'chat_template.json')), ...config }
  if (typeof template === 'string') return new Map([['default', template], ...more])
  return new Map([...namedTemplates(template), ...more])
}

function additionalTemplates(folder: string): [string, string][] {
  if (!existsSync(folder)) return []
  const files = readdirSync(folder).filter((name) => name.endsWith('.jinja'))
  return files.map((name) => [basename(name, '.jinja'), readFileSync(join(folder, name), 'utf8')])
}

function templateJson(file: string): Record<string, unknown> {
  if (!existsSync(file)) return {}
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`)
  }
}

function namedTemplates(value: unknown): [string, string][] {
  const list = Array.isArray(value)
    ? value
    : Object.entries(value ?? {}).map(([name, template]) => ({ name, template }))
  return list.flatMap(({ name, template }: { name?: unknown; template?: unknown }) =>
    typeof name === 'string' && typeof template === 'string' ? [[name, template] as [string, string]] : [],
  )
}
