import { OptionError } from '../options/validate.ts'
import { Endpoint } from './endpoint.ts'
import type { GenerateHooks } from './generate.ts'
import type { Reply, ResolvedGenerateOptions } from './options.ts'
import type { NamedPrompt } from './prompts.ts'

/** Requests under way at once. */
const atOnce = 16

/** Replies of an OpenAI-compatible endpoint, in the order of the prompts. Texts are what the user says, or with --no-chat what is continued. */
export async function* remoteReplies(
  named: readonly NamedPrompt[],
  options: ResolvedGenerateOptions,
  { signal, skip = 0 }: GenerateHooks,
): AsyncGenerator<Reply> {
  const problem = unsupported(options)
  if (problem)
    throw new OptionError(`${problem} is not possible with --sampler: the endpoint's interface has no such setting`)
  const { sampler, model, maxTokens, temperature, greedy, topP, stop, seed, chat } = options
  const endpoint = new Endpoint({ url: sampler!, model, signal })
  const reply = async (index: number): Promise<Reply> => {
    const { prompt, tools } = named[index]!
    if (typeof prompt !== 'string' && chat === false)
      throw new OptionError(`--no-chat is set, but prompt ${skip + index + 1} is messages: make it a text`)
    const settings = { maxTokens, temperature: greedy ? 0 : temperature, topP, stop, seed: seed + skip + index }
    const { text, finish, outputTokens } =
      typeof prompt === 'string' && chat === false
        ? await endpoint.complete(prompt, settings)
        : await endpoint.chat(typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt, {
            ...settings,
            ...(tools && { tools }),
          })
    return { prompt, completion: text, tokens: outputTokens, finish }
  }
  const underWay: Promise<Reply>[] = []
  for (let next = 0; next < named.length; ) {
    while (underWay.length < atOnce && next + underWay.length < named.length) {
      const started = reply(next + underWay.length)
      started.catch(() => {}) // it is thrown where its turn comes
      underWay.push(started)
    }
    yield await underWay.shift()!
    next++
  }
}

/** An option that changes the replies here and cannot be told to an endpoint. */
function unsupported(options: ResolvedGenerateOptions): string | null {
  const { topK, minP, repetitionPenalty, logprobs, adapter, base, loadIn, chatTemplate } = options
  if (adapter !== undefined) return '--adapter'
  if (base !== undefined) return '--base'
  if (loadIn !== undefined) return '--load-in'
  if (chatTemplate !== undefined) return '--chat-template'
  if (topK !== 0) return '--top-k'
  if (minP !== 0) return '--min-p'
  if (repetitionPenalty !== 1) return '--repetition-penalty'
  return logprobs ? '--logprobs' : null
}
