import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where the hub is, and where its files are kept. */
export interface HubSettings {
  /** Without a slash at its end. */
  endpoint: string
  /** The cache folder that Python's huggingface_hub uses too. */
  cache: string
  /** null where the user has none. */
  token: string | null
  /** Only what is in the cache is used. */
  offline: boolean
}

type Environment = Readonly<Record<string, string | undefined>>

/** Reads the environment variables of huggingface_hub: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE and their older names. */
export function hubSettings(environment: Environment = process.env): HubSettings {
  const get = (...names: string[]) => names.map((name) => environment[name]).find((value) => value)
  const caches = get('XDG_CACHE_HOME') ?? join(homedir(), '.cache')
  const home = path(get('HF_HOME') ?? join(caches, 'huggingface'))
  const tokenFile = path(get('HF_TOKEN_PATH') ?? join(home, 'token'))
  const implicit = !isTrue(get('HF_HUB_DISABLE_IMPLICIT_TOKEN'))
  return {
    endpoint: (get('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, ''),
    cache: path(get('HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub')),
    token: implicit ? (get('HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN')?.trim() ?? savedToken(tokenFile)) : null,
    offline: isTrue(get('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE')),
  }
}

function path(text: string): string {
  return text.startsWith('~/') ? join(homedir(), text.slice(2)) : text
}

function isTrue(value: string | undefined): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes(value?.toUpperCase() ?? '')
}

/** What `hf auth login` saved. */
function savedToken(file: string): string | null {
  if (!existsSync(file)) return null
  return readFileSync(file, 'utf8').trim() || null
}
