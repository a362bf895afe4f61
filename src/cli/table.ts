import { stripVTControlCharacters } from 'node:util'

const noWidth = /[\p{Mark}\p{Default_Ignorable_Code_Point}]/u
const doubleWidth =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60]/u

/** Columns of the terminal that a line of text takes; colours take none. */
export function displayWidth(text: string): number {
  let width = 0
  for (const character of stripVTControlCharacters(text)) width += characterWidth(character)
  return width
}

function characterWidth(character: string): number {
  if (character >= ' ' && character <= '~') return 1
  if (noWidth.test(character)) return 0
  return doubleWidth.test(character) ? 2 : 1
}

export type Align = 'left' | 'right'

function pad(text: string, width: number, align: Align = 'left'): string {
  const space = ' '.repeat(Math.max(0, width - displayWidth(text)))
  return align === 'left' ? text + space : space + text
}

/** Rows of cells with their columns aligned, two spaces between them. `aligns` by column; left where not given. */
export function alignedTable(rows: readonly (readonly string[])[], aligns: readonly Align[] = []): string {
  const count = Math.max(0, ...rows.map((row) => row.length))
  const widths = Array.from({ length: count }, (_, column) =>
    Math.max(...rows.map((row) => displayWidth(row[column] ?? ''))),
  )
  const line = (row: readonly string[]) =>
    row.map((cell, column) => pad(cell, widths[column]!, aligns[column])).join('  ')
  return rows.map((row) => line(row).trimEnd()).join('\n')
}

export interface Column {
  title: string
  /** Any text: it is wrapped, and control characters are taken out. */
  text: string
}

/** Texts side by side under their titles, in columns of equal width, `width` in all. */
export function sideBySide(columns: readonly Column[], width = terminalWidth()): string {
  const gap = 3
  const each = Math.max(8, Math.floor((width - gap * (columns.length - 1)) / columns.length))
  const cells = columns.map(({ title, text }) => [title, '-'.repeat(each), ...wrap(text, each)])
  const height = Math.max(...cells.map((lines) => lines.length))
  const line = (at: number) => cells.map((lines) => pad(lines[at] ?? '', each)).join(' '.repeat(gap))
  return Array.from({ length: height }, (_, at) => line(at).trimEnd()).join('\n')
}

/** Lines of at most `width` columns, broken between words where there are any. Line ends of the text stay. */
export function wrap(text: string, width: number): string[] {
  return printable(text)
    .split('\n')
    .flatMap((line) => wrapLine(line.trimEnd(), width))
}

function wrapLine(line: string, width: number): string[] {
  const lines = ['']
  for (const word of line.split(/(?<= )(?=[^ ])/).flatMap((part) => broken(part, width))) {
    const current = lines.at(-1)!
    if (displayWidth(current + word.trimEnd()) <= width) lines[lines.length - 1] = current + word
    else lines.push(word)
  }
  return lines.map((part) => part.trimEnd())
}

/** A word cut into pieces that fit; most words are one piece. */
function broken(word: string, width: number): string[] {
  if (displayWidth(word.trimEnd()) <= width) return [word]
  const pieces = ['']
  for (const character of word) {
    if (displayWidth(pieces.at(-1)! + character) > width) pieces.push('')
    pieces[pieces.length - 1] += character
  }
  return pieces
}

/** Text that is safe to print: a model's reply may hold anything, also sequences that move the cursor. */
export function printable(text: string): string {
  const plain = stripVTControlCharacters(text).replaceAll('\t', '  ').replaceAll('\r\n', '\n')
  return plain.replace(/[^\P{Cc}\n]/gu, '')
}

export function terminalWidth(): number {
  return process.stdout.columns || 80
}

/** For reading: 1,234 and 0.12 and 5.0e-6. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  if (Number.isInteger(value)) return value.toLocaleString('en-US')
  const size = Math.abs(value)
  if (size >= 1000) return Math.round(value).toLocaleString('en-US')
  if (size >= 100) return value.toFixed(1)
  if (size >= 0.01) return value.toPrecision(size < 1 ? 2 : 3)
  return value.toExponential(1)
}

/** 0.42 s, 12 s, 3 min 12 s, 2 h 05 min */
export function formatDuration(seconds: number): string {
  if (seconds < 1) return `${seconds.toFixed(2)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  const two = (value: number) => String(value).padStart(2, '0')
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`
}

/** 1.5 GiB */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  return `${formatNumber(power === 0 ? bytes : Math.round((bytes / 1024 ** power) * 10) / 10)} ${units[power]}`
}
