import colors from 'picocolors'

/** Ends the command with a message that is not an error: the user stopped it. */
export class Interrupted extends Error {
  readonly exitCode: number

  constructor(message: string, exitCode = 130) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Errors that the language or Node throws for a mistake in the program, not in what the user gave. */
const mistakes = [TypeError, RangeError, ReferenceError, SyntaxError]

/** Prints an error and gives the exit code. Only a mistake of the program shows its stack, or any error where PROSPECT_DEBUG is set. */
export function reportError(error: unknown): number {
  if (error instanceof Interrupted) {
    console.error(error.message)
    return error.exitCode
  }
  const withStack =
    Boolean(process.env.PROSPECT_DEBUG) || !(error instanceof Error) || mistakes.some((kind) => error instanceof kind)
  const text = withStack ? String((error as Error)?.stack ?? error) : (error as Error).message
  console.error(`${colors.red('error:')} ${text.replaceAll('\n', '\n       ')}`)
  return 1
}
