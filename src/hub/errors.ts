import { reasonOf } from './fetch.ts'
import { type HubName, nameText } from './names.ts'
import type { HubSettings } from './settings.ts'

/** The hub refused, or cannot give what was asked for. */
export class HubError extends Error {
  /** HTTP status; null where there is none. */
  readonly status: number | null

  constructor(message: string, status: number | null, options?: ErrorOptions) {
    super(message, options)
    this.status = status
  }
}

/** No answer came at all, as opposed to one that refuses. */
export function isUnreachable(error: unknown): boolean {
  if (!(error instanceof Error) || statusOf(error) !== null || error instanceof HubError) return false
  return error instanceof TypeError && error.message === 'fetch failed'
}

function statusOf(error: unknown): number | null {
  const { statusCode, status } = error as { statusCode?: unknown; status?: unknown }
  const value = statusCode ?? status
  return typeof value === 'number' ? value : null
}

/** An error of the hub or its library, said with what to do. */
export function hubError(error: unknown, name: HubName, { endpoint, token }: HubSettings): Error {
  const status = statusOf(error)
  if (status === null) return error as Error
  const what = name.kind === 'model' ? 'model' : 'data set'
  const page = `${endpoint}/${name.kind === 'dataset' ? 'datasets/' : ''}${name.repository}`
  const access = token
    ? `the token does not give access; where the ${what} is gated, accept its terms at ${page}`
    : 'it may be private or gated: set HF_TOKEN, or log in with `hf auth login`'
  const advice: Record<number, string> = {
    401: access,
    403: access,
    404: `no such ${what} or revision on ${endpoint}, or a private one${token ? '' : ' (HF_TOKEN is not set)'}; if a local folder or file was meant, it does not exist`,
    429: 'too many requests: wait a few minutes, or set HF_TOKEN, which raises the limit',
  }
  const text = advice[status] ?? reasonOf(error)
  return new HubError(`${nameText(name)}: ${text} (status ${status})`, status, { cause: error })
}
