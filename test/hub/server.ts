import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Repository {
  kind: 'model' | 'dataset'
  /** Branch or tag to commit. */
  refs: Record<string, string>
  commits: Record<string, Record<string, Buffer>>
  /** Only this token may read. */
  token?: string
}

export interface Seen {
  method: string
  path: string
  range: string | undefined
  authorization: string | undefined
}

/** What to do to a request instead of answering it; undefined: answer it. */
export type Fault = (
  request: Seen,
) => { status: number; headers?: Record<string, string> } | { cutAfter: number } | undefined

export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const gitSha = (bytes: Buffer) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
const isLarge = (path: string) => path.endsWith('.safetensors')

/**
 * A server on the loopback that speaks as much of the hub's API as downloads and uploads use: revisions, trees in pages, files with ranges, large
 * ones by a redirect to another host name, LFS uploads and commits.
 */
export class LocalHub {
  readonly repositories = new Map<string, Repository>()
  readonly seen: Seen[] = []
  fault: Fault = () => undefined
  /** Changes what is sent for a file. */
  tamper: (bytes: Buffer) => Buffer = (bytes) => bytes
  /** Changes the listed files. */
  list: (entries: Record<string, unknown>[]) => Record<string, unknown>[] = (entries) => entries
  readonly uploaded = new Map<string, Buffer>()
  #server!: Server

  async start(): Promise<this> {
    this.#server = createServer((request, response) => void this.#answer(request, response))
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return this
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  get #port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  add(name: string, files: Record<string, string | Buffer>, more: Partial<Repository> = {}): string {
    const contents = Object.fromEntries(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)]))
    const commit = createHash('sha1')
      .update(name + JSON.stringify(contents))
      .digest('hex')
    const before = this.repositories.get(name)
    const repository = before ?? { kind: 'model', refs: {}, commits: {}, ...more }
    repository.commits[commit] = contents
    repository.refs.main = commit
    this.repositories.set(name, repository)
    return commit
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, this.endpoint)
    const seen = {
      method: request.method!,
      path: decodeURIComponent(url.pathname),
      range: request.headers.range,
      authorization: request.headers.authorization,
    }
    this.seen.push(seen)
    const fault = this.fault(seen)
    if (fault && 'status' in fault) {
      response.writeHead(fault.status, fault.headers).end()
      return
    }
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    this.#route(seen, url, Buffer.concat(chunks), response, fault?.cutAfter)
  }

  #route(seen: Seen, url: URL, body: Buffer, response: ServerResponse, cutAfter?: number): unknown {
    const { method, path } = seen
    const json = (value: unknown, headers = {}) =>
      response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
    const cdn = /^\/cdn\/(\w+)$/.exec(path)
    if (cdn) return this.#send(this.#blob(cdn[1]!)!, seen, response, cutAfter)
    if (method === 'PUT' && path.startsWith('/upload/')) {
      this.uploaded.set(path.slice('/upload/'.length), body)
      return response.writeHead(200).end()
    }
    if (path === '/api/repos/create') {
      const { name, organization } = JSON.parse(body.toString()) as Record<string, string>
      const id = `${organization}/${name}`
      if (this.repositories.has(id)) return response.writeHead(409).end()
      this.add(id, {})
      return json({ url: `${this.endpoint}/${id}`, id })
    }
    const info = /^\/api\/(model|dataset)s\/([^/]+\/[^/]+)\/(revision|tree|preupload|commit)\/(.+)$/.exec(path)
    if (info) return this.#api(info, seen, url, body, response, json)
    const batch = /^\/([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(path)
    if (batch) return this.#batch(body, json)
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path)
    if (file) return this.#file(file[2]!, file[3]!, file[4]!, seen, response, cutAfter)
    response.writeHead(404).end()
  }

  #find(name: string, revision: string, seen: Seen): { commit: string; files: Record<string, Buffer> } | number {
    const repository = this.repositories.get(name)
    if (!repository) return 404
    if (repository.token && seen.authorization !== `Bearer ${repository.token}`) return 401
    const commit = repository.refs[revision] ?? revision
    const files = repository.commits[commit]
    return files ? { commit, files } : 404
  }

  #api(
    [, , name, what, revision]: RegExpExecArray,
    seen: Seen,
    url: URL,
    body: Buffer,
    response: ServerResponse,
    json: (value: unknown, headers?: object) => void,
  ): unknown {
    const found = this.#find(name!, revision!, seen)
    if (typeof found === 'number') return response.writeHead(found).end()
    if (what === 'revision') {
      const siblings = Object.keys(found.files).map((rfilename) => ({ rfilename }))
      return json({
        _id: '1',
        id: name,
        sha: found.commit,
        private: false,
        lastModified: '2026-01-01T00:00:00Z',
        siblings,
      })
    }
    if (what === 'preupload') {
      const { files } = JSON.parse(body.toString()) as { files: { path: string }[] }
      return json({ files: files.map(({ path }) => ({ path, uploadMode: isLarge(path) ? 'lfs' : 'regular' })) })
    }
    if (what === 'commit') return json(this.#commit(name!, body))
    const entries = this.list(Object.entries(found.files).map(([path, bytes]) => treeEntry(path, bytes)))
    const from = Number(url.searchParams.get('cursor') ?? 0)
    const next = new URL(url)
    next.searchParams.set('cursor', String(from + 3))
    json(entries.slice(from, from + 3), from + 3 < entries.length ? { link: `<${next}>; rel="next"` } : {})
  }

  #commit(name: string, body: Buffer): unknown {
    const lines = body
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { key: string; value: never })
    const files: Record<string, Buffer> = {}
    for (const { key, value } of lines) {
      const { path, content, oid } = value as { path: string; content: string; oid: string }
      if (key === 'file') files[path] = Buffer.from(content, 'base64')
      if (key === 'lfsFile') files[path] = this.uploaded.get(oid)!
    }
    const commit = this.add(name, files)
    return { commitOid: commit, commitUrl: `${this.endpoint}/${name}/commit/${commit}`, hookOutput: '' }
  }

  #batch(body: Buffer, json: (value: unknown, headers?: object) => void): void {
    const { objects } = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] }
    const actions = (oid: string) => ({ upload: { href: `${this.endpoint}/upload/${oid}` } })
    json(
      { transfer: 'basic', objects: objects.map(({ oid, size }) => ({ oid, size, actions: actions(oid) })) },
      { 'content-type': 'application/vnd.git-lfs+json' },
    )
  }

  #blob(sha: string): Buffer | undefined {
    const all = [...this.repositories.values()].flatMap(({ commits }) =>
      Object.values(commits).flatMap((files) => Object.values(files)),
    )
    return all.find((bytes) => sha256(bytes) === sha)
  }

  #file(
    name: string,
    revision: string,
    path: string,
    seen: Seen,
    response: ServerResponse,
    cutAfter?: number,
  ): unknown {
    const found = this.#find(name, revision, seen)
    if (typeof found === 'number') return response.writeHead(found).end()
    const bytes = found.files[path]
    if (!bytes) return response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end()
    const headers = {
      'x-repo-commit': found.commit,
      etag: `"${gitSha(bytes)}"`,
      'content-length': String(bytes.length),
    }
    if (!isLarge(path)) {
      for (const [key, value] of Object.entries(headers)) if (key !== 'content-length') response.setHeader(key, value)
      return this.#send(bytes, seen, response, cutAfter)
    }
    const large = {
      ...headers,
      'x-linked-etag': `"${sha256(bytes)}"`,
      'x-linked-size': String(bytes.length),
      'content-length': '0',
    }
    response.writeHead(302, { ...large, location: `http://localhost:${this.#port}/cdn/${sha256(bytes)}` }).end()
  }

  #send(bytes: Buffer, { method, range }: Seen, response: ServerResponse, cutAfter?: number): unknown {
    const sent = this.tamper(bytes)
    const from = Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0)
    if (from >= sent.length && from > 0) return response.writeHead(416).end()
    const part = sent.subarray(from)
    const headers = {
      'content-length': part.length,
      'content-range': `bytes ${from}-${sent.length - 1}/${sent.length}`,
    }
    response.writeHead(range ? 206 : 200, headers)
    if (method === 'HEAD') return response.end()
    if (cutAfter === undefined) return response.end(part)
    response.write(part.subarray(0, cutAfter), () => setTimeout(() => response.destroy(), 20))
  }
}

function treeEntry(path: string, bytes: Buffer): Record<string, unknown> {
  const entry = { type: 'file', path, size: bytes.length, oid: gitSha(bytes) }
  return isLarge(path) ? { ...entry, lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : entry
}
