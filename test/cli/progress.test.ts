import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createProgress } from '../../src/cli/progress.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A stream that keeps what is written to it. */
function screen(isTTY: boolean, columns = 80) {
  const written: string[] = []
  const stream = { isTTY, columns, write: (text: string) => written.push(text) } as unknown as NodeJS.WriteStream
  return { stream, text: () => written.join(''), lines: () => written.join('').split('\n').filter(Boolean) }
}

describe('where there is no terminal', () => {
  test('a plain line comes every few seconds, with metrics and the time left', () => {
    const { stream, lines } = screen(false)
    const piece = createProgress({ stream }).start(100, 'training')
    for (let done = 1; done <= 20; done++) {
      vi.advanceTimersByTime(1000)
      piece.update(done, { loss: 0.4567, margin: null })
    }
    expect(lines()).toHaveLength(4)
    expect(lines()[0]).toBe('training 5/100  loss 0.46  margin -  1 min 35 s left')
    piece.stop()
    expect(lines().at(-1)).toBe('training 20/100 in 20 s')
  })

  test('work of under two seconds leaves no trace', () => {
    const { stream, text } = screen(false)
    const piece = createProgress({ stream }).start(2, 'loading')
    vi.advanceTimersByTime(1500)
    piece.update(2)
    piece.stop()
    expect(text()).toBe('')
  })

  test('the time left of resumed work counts only what was done here', () => {
    const { stream, lines } = screen(false)
    const piece = createProgress({ stream }).start(100, 'training', 50)
    vi.advanceTimersByTime(10_000)
    piece.update(60)
    expect(lines()).toEqual(['training 60/100  40 s left'])
  })
})

describe('on a terminal', () => {
  test('the bar fits the width, and lines are printed above it', () => {
    const { stream, text } = screen(true, 60)
    const progress = createProgress({ stream })
    const piece = progress.start(1200, 'training')
    vi.advanceTimersByTime(1000)
    piece.update(120, { loss: 0.5, margin: 0.1, kl: 0, lr: 5e-6 })
    vi.advanceTimersByTime(1000)
    progress.log('checkpoint written')
    piece.stop()
    expect(text()).toMatch(/training 120\/1,200 {2}━+─+ {2}loss 0\.50 .* left/)
    expect(text()).toContain('checkpoint written\n')
    const bars = text()
      .split('\u001b')
      .filter((part) => part.includes('━'))
    for (const bar of bars) expect(bar.replace(/^\[\d*[A-Z]/, '').length).toBeLessThan(60)
  })

  test('of nested pieces the inner one is shown until its stop', () => {
    const { stream, text } = screen(true)
    const progress = createProgress({ stream })
    const outer = progress.start(10, 'training')
    const inner = progress.start(4, 'evaluating')
    const before = text().length
    outer.update(5)
    inner.update(2)
    vi.advanceTimersByTime(500)
    expect(text().slice(before)).toMatch(/evaluating 2\/4/)
    expect(text().slice(before)).not.toMatch(/training 5/)
    inner.stop()
    expect(text()).toMatch(/training 5\/10/)
    outer.stop()
    expect(vi.getTimerCount()).toBe(0)
  })

  test('the cursor is never hidden and wrapping never switched off, so a kill leaves the terminal usable', () => {
    const { stream, text } = screen(true)
    const piece = createProgress({ stream }).start(10, 'training')
    piece.update(5)
    vi.advanceTimersByTime(1000)
    expect(text()).not.toContain('\u001b[?25l')
    expect(text()).not.toContain('\u001b[?7l')
    piece.stop()
  })
})

test('silent progress shows only what is logged', () => {
  const { stream, text } = screen(true)
  const progress = createProgress({ stream, silent: true })
  progress.start(10, 'training').update(3)
  progress.log('2 rows skipped')
  expect(text()).toBe('2 rows skipped\n')
})
