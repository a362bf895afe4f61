import fc from 'fast-check'
import type { Sequence } from '../src/data/types.ts'

/** Up to so many prompts, and completions of theirs, in any order: rows numbered from 0. */
export function sequencesOf(
  token: fc.Arbitrary<number>,
  most: { prompts: number; promptTokens: number; rows: number; completionTokens: number },
): fc.Arbitrary<Sequence[]> {
  const tokens = (maxLength: number) => fc.array(token, { minLength: 1, maxLength })
  return fc
    .record({
      prompts: fc.uniqueArray(tokens(most.promptTokens), { minLength: 1, maxLength: most.prompts, selector: String }),
      rows: fc.array(fc.tuple(fc.nat(), tokens(most.completionTokens)), { minLength: 1, maxLength: most.rows }),
    })
    .map(({ prompts, rows }) =>
      rows.map(([choice, completion], row) => {
        const promptGroup = choice % prompts.length
        const prompt = Int32Array.from(prompts[promptGroup]!)
        return { prompt, completion: Int32Array.from(completion), row, promptGroup }
      }),
    )
}
