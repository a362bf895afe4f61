export type RepositoryKind = 'model' | 'dataset'

/** A repository on the hub at one of its revisions. */
export interface HubName {
  kind: RepositoryKind
  /** `org/name` */
  repository: string
  /** Branch, tag or commit. */
  revision: string
  /** A file or folder in it; null: what it is for as a whole. */
  path: string | null
}

const pattern = /^(?:hf:\/\/)?(\w[\w.-]*\/\w[\w.-]*)(?:@([^:\s]+))?(?::(.+))?$/
const commitPattern = /^[0-9a-f]{40}$/

/** Reads `org/name`, `org/name@revision` and `org/name@revision:path`; null where the text is no such name. */
export function parseHubName(text: string, kind: RepositoryKind): HubName | null {
  const [, repository, revision = 'main', path = null] = pattern.exec(text) ?? []
  if (!repository || /--|\.\./.test(repository)) return null
  for (const part of [revision, path]) if (part !== null && !isInside(part)) return null
  return { kind, repository, revision, path }
}

/** Whether a relative path of a repository stays inside the folder that it is put in. */
export function isInside(path: string): boolean {
  return (
    path !== '' && !/[\\\0]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  )
}

export function isCommit(revision: string): boolean {
  return commitPattern.test(revision)
}

/** As in messages: `org/name@revision`, without the revision where it is main. */
export function nameText({ repository, revision }: HubName): string {
  return revision === 'main' ? repository : `${repository}@${revision}`
}

/** The folder of a repository in the cache: `models--org--name`. */
export function cacheFolderName({ kind, repository }: Pick<HubName, 'kind' | 'repository'>): string {
  return `${kind}s--${repository.replace('/', '--')}`
}

/** The hub's name of a model whose folder lies in a cache, `.../models--org--name/snapshots/<commit>`; null for any other folder. */
export function hubNameOfFolder(folder: string): { repository: string; commit: string } | null {
  const { kind, repository, commit, path } = placeInCache(folder) ?? {}
  return kind === 'model' && repository && commit && !path ? { repository, commit } : null
}

/** `org/name@commit` or `org/name@commit:path` for what lies in a cache; any other path as it is. */
export function hubTextOf(place: string): string {
  const { repository, commit, path } = placeInCache(place) ?? {}
  if (!repository) return place
  return `${repository}@${commit}${path ? `:${path}` : ''}`
}

function placeInCache(place: string): { kind: string; repository: string; commit: string; path: string } | null {
  const pattern = /(?:^|\/)(model|dataset)s--(.+?)--([^/]+)\/snapshots\/([0-9a-f]{40})(?:\/(.*))?$/
  const [, kind, organization, name, commit, path = ''] = pattern.exec(place.replaceAll('\\', '/')) ?? []
  return kind && commit ? { kind, repository: `${organization}/${name}`, commit, path } : null
}
