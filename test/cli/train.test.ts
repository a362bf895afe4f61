import { expect, test, vi } from 'vitest'
import { Interrupted } from '../../src/cli/errors.ts'
import { listenForInterrupts } from '../../src/cli/interrupt.ts'
import { follow, summaryText } from '../../src/cli/train.ts'
import type { TrainOptions } from '../../src/train/options.ts'
import type { Progress, Run, StepMetrics, Summary, TrainHooks } from '../../src/train/run.ts'

const options: TrainOptions = { model: 'm', data: 'd' }

function recorder() {
  const lines: string[] = []
  const updates: [number, object | undefined][] = []
  const stop = vi.fn()
  const progress: Progress = {
    start: () => ({ update: (done, metrics) => updates.push([done, metrics]), stop }),
    log: (line) => lines.push(line),
  }
  return { progress, lines, updates, stop }
}

function metricsOf(step: number): StepMetrics {
  return {
    step,
    steps: 3,
    epoch: step / 3,
    loss: 0.5,
    rewards: { chosen: 1, rejected: 0, margin: 1, accuracy: 1 },
    logps: { chosen: -1, rejected: -1 },
    kl: { value: 0.1, mean: 0.1, standardError: 0.01, count: 4 },
    saturated: 0,
    gradNorm: 1,
    learningRate: 1e-6,
    alarms: [],
    timings: { tokensPerSecond: 1, secondsLeft: 1, memoryBytes: 1 },
  }
}

/** A training of three steps that ends early where it is aborted; `during` runs after the first step. */
function fakeTraining(during: () => void = () => {}) {
  return async (_: TrainOptions, { signal }: TrainHooks = {}): Promise<Run> => {
    const { promise, resolve } = withResolvers<Summary>()
    async function* steps() {
      let step = 0
      while (step < 3 && !signal?.aborted) {
        yield metricsOf(++step)
        if (step === 1) during()
      }
      resolve({ model: signal?.aborted ? null : 'runs/x/model', steps: step, seconds: 1, evaluation: null })
    }
    return { directory: 'runs/x', finished: promise, [Symbol.asyncIterator]: steps }
  }
}

function withResolvers<T>() {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

test('a training is shown step by step and gives its summary', async () => {
  const { progress, updates, stop } = recorder()
  const { summary, directory } = await follow(fakeTraining(), options, { progress })
  expect(updates.map(([done]) => done)).toEqual([1, 2, 3])
  expect(updates[0]![1]).toEqual({ loss: 0.5, margin: 1, kl: 0.1, lr: 1e-6 })
  expect(stop).toHaveBeenCalledOnce()
  expect(summaryText({ summary, directory })).toContain('prospect generate --model runs/x/model')
})

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends after the step, with the command that resumes and exit code %i', async (name, exitCode) => {
  const { progress, lines, stop } = recorder()
  const running = follow(
    fakeTraining(() => process.emit(name, name)),
    options,
    { progress },
  )
  await expect(running).rejects.toBeInstanceOf(Interrupted)
  await expect(running).rejects.toMatchObject({
    exitCode,
    message: expect.stringContaining('prospect train --resume runs/x'),
  })
  expect(lines[0]).toMatch(/step is being finished and a checkpoint written/)
  expect(stop).toHaveBeenCalledOnce()
  expect(process.listenerCount(name)).toBe(0)
})

test('an interruption before the first step says that there is nothing to resume', async () => {
  const train = async (_: TrainOptions, { signal }: TrainHooks = {}): Promise<Run> => {
    process.emit('SIGINT', 'SIGINT')
    throw signal!.reason
  }
  const running = follow(train, options, { progress: recorder().progress })
  await expect(running).rejects.toMatchObject({
    exitCode: 130,
    message: expect.stringContaining('nothing was written'),
  })
})

test('a failure of the run stays what it is', async () => {
  const failure = new Error('the loss is NaN')
  const train = async (): Promise<Run> => {
    throw failure
  }
  await expect(follow(train, options, { progress: recorder().progress })).rejects.toBe(failure)
})

test('the second Ctrl-C exits at once', () => {
  const exit = vi.fn()
  const first = vi.fn()
  const interrupts = listenForInterrupts(first, exit)
  process.emit('SIGINT', 'SIGINT')
  expect(interrupts.signal.aborted).toBe(true)
  expect(exit).not.toHaveBeenCalled()
  process.emit('SIGINT', 'SIGINT')
  expect(first).toHaveBeenCalledOnce()
  expect(exit).toHaveBeenCalledExactlyOnceWith(130)
  interrupts.dispose()
})

test('the summary sets the evaluation before and after side by side', () => {
  const rewards = { chosen: 0, rejected: 0, margin: 0, accuracy: 0.5 }
  const before = { rows: 40, loss: 0.5, rewards, areaUnderCurve: 0.5 }
  const after = { ...before, loss: 0.41, areaUnderCurve: null }
  const summary = { model: 'runs/x/model', steps: 1200, seconds: 75, evaluation: { before, after } }
  const text = summaryText({ directory: 'runs/x', summary })
  expect(text).toContain('1,200 steps in 1 min 15 s')
  expect(text).toMatch(/loss +0\.50 +0\.41/)
  expect(text).toMatch(/area under curve +0\.50 +-/)
})
