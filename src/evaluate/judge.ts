import type { Matchup } from './judgement.ts'

/** What a judge says of two replies in the order shown. */
export interface Opinion {
  /** null: it named neither, and is not asked again. */
  winner: 'first' | 'second' | 'tie' | null
  raw: string
  inputTokens: number
  outputTokens: number
}

export interface Shown {
  prompt: Matchup['prompt']
  first: string
  second: string
  reference?: string
}

export interface Judge {
  /** Tells its judgements from those of others: its kind, model, and a hash of what it is asked. */
  readonly name: string
  /** Whether the order can matter: a judge that scores each reply by itself needs one look. */
  readonly seesOrder: boolean
  compare(shown: Shown): Promise<Opinion>
  close?(): void
}

/** A judge that scores one reply at a time; the higher score wins, equal ones tie. */
export function scoringJudge(
  name: string,
  score: (reply: { prompt: Matchup['prompt']; completion: string; reference?: string }) => Promise<number>,
  close?: () => void,
): Judge {
  return {
    name,
    seesOrder: false,
    close,
    async compare({ prompt, first, second, reference }) {
      const [a, b] = await Promise.all([first, second].map((completion) => score({ prompt, completion, reference })))
      const winner = a === b ? 'tie' : a! > b! ? 'first' : 'second'
      return { winner, raw: JSON.stringify({ first: a, second: b }), inputTokens: 0, outputTokens: 0 }
    },
  }
}

/** The final answer of a worked solution, as GSM8K writes and grades them: the number after the last ####, else the last number; null without one. */
export function finalAnswer(text: string): string | null {
  const marked = /####\s*(-?[$]?[\d,.]*\d)/g
  const numbers = [...text.matchAll(marked)].map(([, number]) => number!)
  const last = numbers.at(-1) ?? text.match(/-?[$]?\d[\d,]*(\.\d+)?/g)?.at(-1)
  if (last === undefined) return null
  return String(Number(last.replace(/[$,]/g, '')))
}

/** 1 where the reply's final answer is the reference's, else 0. */
export function exactJudge(): Judge {
  return scoringJudge('exact', async ({ completion, reference }) => {
    if (reference === undefined)
      throw new Error('exact: the prompts have no right answer: give rows an `answer` or a completion to compare with')
    const right = finalAnswer(reference)
    if (right === null) throw new Error(`exact: no number in the right answer ${JSON.stringify(reference.slice(-80))}`)
    return Number(finalAnswer(completion) === right)
  })
}
