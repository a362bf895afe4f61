/** Signals that ask a command to stop, with the exit codes that shells give them. */
const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const

export interface Interrupts {
  /** Aborted at the first signal. */
  signal: AbortSignal
  /** What to exit with after it. */
  exitCode(): number
  /** Stop listening. */
  dispose(): void
}

/** Turns the first Ctrl-C (or SIGTERM) into an abort, told by `onFirst`; the second ends the process at once. */
export function listenForInterrupts(onFirst: () => void, exit: (code: number) => void = process.exit): Interrupts {
  const controller = new AbortController()
  let code: number = exitCodes.SIGINT
  const listener = (name: NodeJS.Signals) => {
    code = exitCodes[name as keyof typeof exitCodes]
    if (controller.signal.aborted) return exit(code)
    onFirst()
    controller.abort(new Error('interrupted'))
  }
  for (const name of Object.keys(exitCodes)) process.on(name, listener)
  const dispose = () => {
    for (const name of Object.keys(exitCodes)) process.off(name, listener)
  }
  return { signal: controller.signal, exitCode: () => code, dispose }
}
