import { setMaxListeners } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import OpenAI, { APIConnectionError, APIError, AuthenticationError } from 'openai'
import PQueue from 'p-queue'

export interface EndpointOptions {
  /** Base URL, as http://localhost:8000/v1. */
  url: string
  /** Its name for the model. */
  model: string
  /** Tries of a request before it counts as failed. */
  attempts?: number
  timeoutSeconds?: number
  /** Longest wait between tries, in seconds; the first is a hundredth of it or what the endpoint asks for. */
  longestWait?: number
  /** Most requests, tries among them, that begin within a minute. */
  perMinute?: number | undefined
  signal?: AbortSignal
}

export interface Answer {
  text: string
  finish: 'stop' | 'length'
  inputTokens: number
  outputTokens: number
}

export interface ChatSettings {
  temperature?: number
  topP?: number
  maxTokens: number
  seed?: number
  stop?: readonly string[]
  /** Functions that the model may call, in the form of OpenAI's API; for chat() only. */
  tools?: readonly unknown[]
}

/**
 * An OpenAI-compatible endpoint. What a busy or broken endpoint gives (429, 500s, no connection, no answer in time, an answer cut off) is tried again,
 * after waits that double; what it refuses (400, 401, 404) is thrown at once. The key is taken from OPENAI_API_KEY; servers of one's own need none.
 */
export class Endpoint {
  readonly #client: OpenAI
  readonly #options: EndpointOptions
  /** Lets requests begin. */
  readonly #pace: PQueue | null

  constructor(options: EndpointOptions) {
    this.#options = options
    const { perMinute } = options
    this.#pace = perMinute === undefined ? null : new PQueue({ intervalCap: perMinute, interval: 60_000 })
    if (options.signal) setMaxListeners(0, options.signal) // every request under way listens
    this.#client = new OpenAI({
      baseURL: options.url,
      apiKey: process.env.OPENAI_API_KEY ?? 'none',
      maxRetries: 0, // it would not try again where a body is cut off
      timeout: 1000 * (options.timeoutSeconds ?? 120),
    })
  }

  /** The reply to messages. */
  chat(messages: readonly { role: string; content: string }[], settings: ChatSettings): Promise<Answer> {
    const { model, signal } = this.#options
    return this.#persistently(async () => {
      const tools = settings.tools && { tools: settings.tools as OpenAI.ChatCompletionTool[] }
      const body = {
        model,
        messages: messages as OpenAI.ChatCompletionMessageParam[],
        ...parameters(settings),
        ...tools,
      }
      const { choices, usage } = await this.#client.chat.completions.create(body, { signal })
      const [choice] = choices ?? []
      return answerOf(choice?.message?.content, choice?.finish_reason, usage)
    })
  }

  /** The continuation of a text. */
  complete(prompt: string, settings: ChatSettings): Promise<Answer> {
    const { model, signal } = this.#options
    return this.#persistently(async () => {
      const { choices, usage } = await this.#client.completions.create(
        { model, prompt, ...parameters(settings) },
        { signal },
      )
      return answerOf(choices?.[0]?.text, choices?.[0]?.finish_reason, usage)
    })
  }

  async #persistently(request: () => Promise<Answer>): Promise<Answer> {
    const { attempts = 8, longestWait = 60, signal } = this.#options
    for (let attempt = 1; ; attempt++) {
      signal?.throwIfAborted()
      await this.#pace?.add(() => {}, signal ? { signal } : {})
      try {
        return await request()
      } catch (error) {
        signal?.throwIfAborted()
        if (!isPassing(error)) throw refusal(error, this.#options)
        if (attempt === attempts) {
          throw new Error(`${this.#options.url} gave no answer in ${attempts} tries: ${(error as Error).message}`)
        }
        const doubled = Math.min(longestWait, (longestWait / 100) * 2 ** (attempt - 1))
        await wait(1000 * Math.max(retryAfter(error) ?? 0, doubled * (0.75 + Math.random() / 2)), undefined, { signal })
      }
    }
  }
}

function parameters({ temperature, topP, maxTokens, seed, stop }: ChatSettings) {
  return { max_tokens: maxTokens, temperature, top_p: topP, seed, ...(stop && { stop: [...stop] }) }
}

type Usage = { prompt_tokens?: number; completion_tokens?: number } | undefined

function answerOf(text: string | null | undefined, finish: string | null | undefined, usage: Usage): Answer {
  if (typeof text !== 'string') throw new NoAnswer('an answer without text')
  return {
    text,
    finish: finish === 'length' ? 'length' : 'stop',
    inputTokens: usage?.prompt_tokens ?? 0,
    outputTokens: usage?.completion_tokens ?? 0,
  }
}

/** The endpoint said something, but not what its interface promises. */
class NoAnswer extends Error {}

/** Whether trying again may help. */
function isPassing(error: unknown): boolean {
  if (error instanceof APIConnectionError || error instanceof NoAnswer) return true
  if (error instanceof APIError)
    return error.status === 408 || error.status === 409 || error.status === 429 || (error.status ?? 500) >= 500
  return error instanceof SyntaxError || error instanceof TypeError // a body that is no JSON, or ends too soon
}

function retryAfter(error: unknown): number | null {
  const seconds = error instanceof APIError ? Number(error.headers?.get('retry-after')) : Number.NaN
  return seconds > 0 ? Math.min(seconds, 600) : null
}

function refusal(error: unknown, { url, model }: EndpointOptions): unknown {
  if (error instanceof AuthenticationError)
    return new Error(`${url} wants a key: put it in OPENAI_API_KEY (${error.message})`)
  if (error instanceof APIError && error.status === 404) {
    return new Error(
      `${url} knows no model ${model}, or is not the base URL (which mostly ends with /v1): ${error.message}`,
    )
  }
  return error
}
