import { addon } from './addon.ts'

/** A whole file as memory: pages come from disk when they are touched, are shared by all processes that map it, and go when memory is short. */
export function mapBytes(path: string): ArrayBuffer {
  return addon().mappedBytes(addon().mapFile(path))
}
