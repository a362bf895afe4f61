import { type Options, SingleBar } from 'cli-progress'
import type { Progress, ProgressPiece } from '../train/run.ts'
import { displayWidth, formatDuration, formatNumber } from './table.ts'

/** One piece of work under way. */
interface Piece {
  label: string
  total: number
  done: number
  /** Where it was when it started here: the work before took no time of this process. */
  from: number
  metrics: Readonly<Record<string, number | null>>
  startedAt: number
}

interface Screen {
  show(piece: Piece): void
  change(piece: Piece): void
  hide(): void
  log(line: string): void
}

export interface ProgressOptions {
  /** No bar and no lines of progress; what is logged still appears. */
  silent?: boolean
  stream?: NodeJS.WriteStream
  /** Milliseconds between lines where the stream is no terminal. */
  lineInterval?: number
}

/** Progress on a terminal as a bar; elsewhere as a line every few seconds. Work of under two seconds leaves no trace. */
export function createProgress({
  silent = false,
  stream = process.stderr,
  lineInterval = 5000,
}: ProgressOptions = {}): Progress {
  if (silent) return { start: () => ({ update() {}, stop() {} }), log: (line) => void stream.write(`${line}\n`) }
  return new Pieces(stream.isTTY ? new BarScreen(stream) : new LineScreen(stream, lineInterval))
}

/** The pieces under way, in the order of their start; only the last is shown. */
class Pieces implements Progress {
  readonly #screen: Screen
  #pieces: readonly Piece[] = []

  constructor(screen: Screen) {
    this.#screen = screen
  }

  start(total: number, label: string, done = 0): ProgressPiece {
    const piece: Piece = { label, total, done, from: done, metrics: {}, startedAt: Date.now() }
    this.#show([...this.#pieces, piece])
    return { update: (now, metrics) => this.#update(piece, now, metrics), stop: () => this.#stop(piece) }
  }

  log(line: string): void {
    this.#show(this.#pieces, line)
  }

  #update(piece: Piece, done: number, metrics = piece.metrics): void {
    piece.done = done
    piece.metrics = metrics
    if (piece === this.#pieces.at(-1)) this.#screen.change(piece)
  }

  #stop(piece: Piece): void {
    if (!this.#pieces.includes(piece)) return
    const long = Date.now() - piece.startedAt >= 2000
    this.#show(
      this.#pieces.filter((other) => other !== piece),
      long ? endText(piece) : undefined,
    )
  }

  /** Takes the bar away, prints a line, and shows the last of the pieces. */
  #show(pieces: readonly Piece[], line?: string): void {
    this.#screen.hide()
    if (line !== undefined) this.#screen.log(line)
    this.#pieces = pieces
    const shown = pieces.at(-1)
    if (shown) this.#screen.show(shown)
  }
}

// The cursor is never hidden and the terminal's wrapping never switched off, so that a process killed at any moment leaves it usable.
const barOptions: Options = { hideCursor: false, linewrap: true, clearOnComplete: true, gracefulExit: false, fps: 8 }

class BarScreen implements Screen {
  readonly #stream: NodeJS.WriteStream
  #bar: SingleBar | null = null

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  show(piece: Piece): void {
    const format: Options['format'] = () => barText(piece, (this.#stream.columns || 80) - 1)
    this.#bar = new SingleBar({ ...barOptions, stream: this.#stream, format })
    this.#bar.start(piece.total, piece.done)
  }

  change(piece: Piece): void {
    this.#bar?.update(piece.done)
  }

  hide(): void {
    this.#bar?.stop()
    this.#bar = null
  }

  log(line: string): void {
    this.#stream.write(`${line}\n`)
  }
}

class LineScreen implements Screen {
  readonly #stream: NodeJS.WriteStream
  readonly #interval: number
  #lastAt = 0

  constructor(stream: NodeJS.WriteStream, interval: number) {
    this.#stream = stream
    this.#interval = interval
  }

  show(piece: Piece): void {
    this.#lastAt = Math.max(this.#lastAt, piece.startedAt)
  }

  change(piece: Piece): void {
    if (Date.now() - this.#lastAt < this.#interval) return
    this.#lastAt = Date.now()
    this.log([countText(piece), ...metricTexts(piece), timeLeftText(piece)].filter(Boolean).join('  '))
  }

  hide(): void {}

  log(line: string): void {
    this.#stream.write(`${line}\n`)
  }
}

/** The bar's line, at most `width` columns; the bar takes what the texts leave, and metrics that do not fit are left out. */
function barText(piece: Piece, width: number): string {
  const [head, left] = [countText(piece), timeLeftText(piece)]
  const metrics = metricTexts(piece)
  const smallestBar = 10
  const rest = () => width - [head, ...metrics, left].reduce((sum, text) => sum + displayWidth(text) + 2, 0)
  while (metrics.length > 0 && rest() < smallestBar) metrics.pop()
  if (rest() < smallestBar) return head.slice(0, width)
  const bar = barOf(piece.total > 0 ? piece.done / piece.total : 1, Math.min(30, rest()))
  return [head, bar, ...metrics, left].join('  ').trimEnd()
}

function barOf(share: number, size: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * size)
  return '━'.repeat(filled) + '─'.repeat(size - filled) // no colours: cli-progress cuts lines by their characters
}

function countText({ label, done, total }: Piece): string {
  return `${label} ${formatNumber(done)}/${formatNumber(total)}`
}

function metricTexts({ metrics }: Piece): string[] {
  return Object.entries(metrics).map(([name, value]) => `${name} ${value === null ? '-' : formatNumber(value)}`)
}

function timeLeftText({ done, total, from, startedAt }: Piece): string {
  if (done <= from || done >= total) return ''
  const seconds = ((Date.now() - startedAt) / 1000 / (done - from)) * (total - done)
  return `${formatDuration(seconds)} left`
}

function endText(piece: Piece): string {
  return `${countText(piece)} in ${formatDuration((Date.now() - piece.startedAt) / 1000)}`
}
