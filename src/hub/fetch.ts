import { setTimeout as sleep } from 'node:timers/promises'

export interface RetryOptions {
  /** Tries in all. */
  tries?: number
  /** Milliseconds before the second try; doubled before each further one. */
  wait?: number
  signal?: AbortSignal
  /** Called before each wait. */
  onWait?: (seconds: number, reason: string) => void
}

const longestWait = 120_000
const temporary = new Set([408, 429, 500, 502, 503, 504])

/**
 * A `fetch` that tries again where the network fails or the server is busy (429 and 5xx), after the time that the server names in
 * Retry-After or ever longer ones. Other answers, errors too, are the caller's.
 */
export function retryingFetch({ tries = 5, wait = 1000, signal, onWait }: RetryOptions = {}): typeof fetch {
  return async (input, init) => {
    for (let attempt = 1; ; attempt++) {
      const outcome = await attemptFetch(input, { ...init, signal: init?.signal ?? signal ?? null })
      const last = attempt >= (isNobody(outcome) ? Math.min(2, tries) : tries)
      if (outcome instanceof Response && (last || !temporary.has(outcome.status))) return outcome
      if (!(outcome instanceof Response) && (last || signal?.aborted)) throw outcome
      const backoff = Math.min(longestWait, wait * 2 ** (attempt - 1))
      const pause = outcome instanceof Response ? (retryAfter(outcome) ?? backoff) : backoff
      onWait?.(pause / 1000, outcome instanceof Response ? `status ${outcome.status}` : reasonOf(outcome))
      if (outcome instanceof Response) await outcome.body?.cancel()
      await sleep(pause, undefined, { ...(signal && { signal }) })
    }
  }
}

/** No such host, or nobody listens there: trying again soon helps rarely. */
function isNobody(outcome: Response | Error): boolean {
  return outcome instanceof Error && /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|bad port/.test(reasonOf(outcome))
}

async function attemptFetch(input: string | URL | Request, init: RequestInit): Promise<Response | Error> {
  try {
    return await fetch(input, init)
  } catch (error) {
    return error as Error
  }
}

/** Milliseconds that the server asks to wait: seconds, or a date. */
function retryAfter(response: Response): number | null {
  const value = response.headers.get('retry-after')
  if (!value) return null
  const seconds = Number(value)
  const milliseconds = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(milliseconds) ? Math.min(longestWait, Math.max(0, milliseconds)) : null
}

/** What is below fetch's `fetch failed`. */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as Error
  if (!cause) return message
  const { code, message: inner } = cause as { code?: string; message?: string }
  return [code, inner || message].filter(Boolean).join(': ')
}
