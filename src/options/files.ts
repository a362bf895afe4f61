import { existsSync, mkdirSync, readFileSync, truncateSync } from 'node:fs'
import { OptionError } from './validate.ts'

/** The text of a file that the user named by an option, without a byte order mark. Throws an OptionError that says what is wrong with it. */
export function readTextFile(option: string, file: string): string {
  const text = attempt(option, file, () => readFileSync(file, 'utf8'))
  if (text.includes('\0')) throw new OptionError(`${option} ${file}: it is binary; a text file is needed`)
  return text.replace(/^\uFEFF/, '')
}

/** The lines of a file to which rows are appended one by one, none where there is no such file; what a kill left of the last one is taken away. */
export function wholeLines(option: string, file: string): string[] {
  if (!existsSync(file)) return []
  const text = attempt(option, file, () => readFileSync(file, 'utf8'))
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  if (whole !== text) truncateSync(file, Buffer.byteLength(whole))
  return whole.split('\n').slice(0, -1)
}

/** Makes a folder for results that the user named by an option, unless it is there. */
export function makeFolder(option: string, folder: string): void {
  attempt(option, folder, () => mkdirSync(folder, { recursive: true }))
}

const problems: Record<string, string> = {
  ENOENT: 'no such file; look whether the path is right',
  ENOTDIR: 'a part of the path is a file, not a folder; look whether the path is right',
  EISDIR: 'a folder; name a file',
  EEXIST: 'a file; name a folder, or one that is not there yet',
  EACCES: 'no permission; change that with chmod, or name another path',
  EROFS: 'nothing can be written there; name another path',
}

/** Says for which option a system call failed, and what to do; what is not foreseen keeps the system's words. */
export function attempt<T>(option: string, path: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    throw new OptionError(`${option} ${path}: ${problems[code] ?? message}`)
  }
}
