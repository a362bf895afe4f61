import type { Sampler } from '../train/train.ts'
import { sample } from './sample.ts'

/** One reply to each prompt, in their order; a reply is shortened where the model's context ends. For the samples of a training run. */
export const answer: Sampler = async (decoder, weights, prompts, settings) => {
  const replies: Int32Array[] = []
  for await (const { index, tokens } of sample(decoder, weights, prompts, { ...settings, overflow: 'shorten' })) {
    replies[index] = tokens
  }
  return replies
}
