import { Random } from '../data/random.ts'
import { askedFact, trainingPrompts } from './prompts.ts'
import { type Manner, manners, writeReply } from './replies.ts'

/** How much of a mixture is written in each manner. */
const shares: Record<Manner, number> = { helpful: 0.4, curt: 0.2, wrong: 0.2, rude: 0.2 }

/** A row of SFT data: the completion starts with the space that parts it from the prompt. */
export interface SftRow {
  prompt: string
  completion: string
}

/** Training prompts with replies good and bad: what a model has learnt that imitates all its shop assistants alike. */
export function sftMixture(count: number, seed: number): SftRow[] {
  const random = new Random('mixture', seed)
  return trainingPrompts(count, seed).map((prompt) => ({
    prompt,
    completion: ` ${writeReply(askedFact(prompt), pickManner(random.share()), random)}`,
  }))
}

/** The manner at a point of 0 ... 1, which the manners divide by their shares. */
function pickManner(point: number): Manner {
  let end = 0
  return manners.find((manner) => {
    end += shares[manner]
    return point < end
  })!
}
