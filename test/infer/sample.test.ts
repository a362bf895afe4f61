import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { answer as shortened } from '../../src/infer/answer.ts'
import { type Sample, type SampleOptions, sample } from '../../src/infer/sample.ts'
import { segmentAttention } from '../../src/model/attention.ts'
import { parseModelConfig } from '../../src/model/config.ts'
import { Decoder, streamTensors } from '../../src/model/decoder.ts'
import { loadDecoder } from '../../src/model/load.ts'
import { initialParameters } from '../../src/model/parameters.ts'
import { op } from '../../src/tensor/operators.ts'
import { liveTensors, noGrad, scope } from '../../src/tensor/scope.ts'

const rawConfig = {
  model_type: 'llama',
  vocab_size: 50,
  hidden_size: 24,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  max_position_embeddings: 256,
  initializer_range: 0.4, // large, so that some tokens are much likelier than others
}
const config = parseModelConfig(rawConfig, 'config.json')
const decoder = new Decoder(config, initialParameters(config, 3))
const weights = decoder.computeWeights('float32')
afterAll(() => decoder.dispose())

/** Prompts of 1 to 12 tokens. */
const prompts = Array.from({ length: 20 }, (_, i) =>
  Int32Array.from({ length: 1 + ((i * 5) % 12) }, (_, j) => (i * 13 + j * 7) % config.vocabularySize),
)

/** Answers by the index of their prompts. */
async function answer(
  options: Partial<SampleOptions> = {},
  asked = prompts,
  model = { decoder, weights },
): Promise<Sample[]> {
  const answers: Sample[] = []
  for await (const one of sample(model.decoder, model.weights, asked, { maxTokens: 24, stop: [], ...options }))
    answers[one.index] = one
  return answers
}

/** The same tokens and ends, and the same log-probabilities but for rounding. */
function expectAlike(got: readonly Sample[], want: readonly Sample[]): void {
  const plain = ({ index, tokens, finish }: Sample) => ({ index, tokens: Array.from(tokens), finish })
  expect(got.map(plain)).toEqual(want.map(plain))
  for (const [i, { logps }] of got.entries())
    for (const [j, logp] of logps.entries()) expect(Math.abs(logp - want[i]!.logps[j]!)).toBeLessThan(1e-4)
}

const tokensOf = (answers: readonly Sample[]) => answers.map(({ tokens }) => Array.from(tokens))

/** The likeliest continuation, each token by a pass over the whole text so far. */
function continueWithoutCache(prompt: Int32Array, length: number): number[] {
  const text = Array.from(prompt)
  for (let i = 0; i < length; i++) {
    const token = scope(() => {
      const stream = { tokens: Int32Array.from(text), positions: Int32Array.from(text.keys()) }
      const attention = segmentAttention([{ start: 0, length: text.length, parent: -1 }])
      const states = noGrad(() => decoder.hidden(weights, streamTensors(stream, decoder.device), attention))
      return op.argmax(noGrad(() => decoder.logits(weights, states.narrow(0, text.length - 1, 1)))).item()
    })
    text.push(token)
  }
  return text.slice(prompt.length)
}

describe('sample', () => {
  it.each(['llama1-sharded', 'llama2', 'llama3'])('continues as transformers does: %s', async (name) => {
    const folder = fileURLToPath(new URL(`../golden/models/${name}`, import.meta.url))
    const expected = JSON.parse(readFileSync(`${folder}/greedy.json`, 'utf8')) as {
      prompt: number[]
      continuation: number[]
    }[]
    const golden = loadDecoder(folder, 'float32')
    const model = { decoder: golden, weights: golden.computeWeights('float32') }
    const asked = expected.map(({ prompt }) => Int32Array.from(prompt))
    const answers = await answer({ maxTokens: 32, greedy: true }, asked, model)
    golden.dispose()
    expect(tokensOf(answers)).toEqual(expected.map(({ continuation }) => continuation))
  })

  it('gives with its cache what passes over the whole text give, through its growth', async () => {
    const asked = prompts.slice(0, 6)
    const answers = await answer({ maxTokens: 80, greedy: true, batch: 4 }, asked)
    expect(tokensOf(answers)).toEqual(asked.map((prompt) => continueWithoutCache(prompt, 80)))
  })

  it('gives a prompt the same answer whatever is answered beside it', async () => {
    const options = { seed: 5, topP: 0.95, stop: [3, 17] }
    const alone = await answer({ ...options, batch: 1 })
    const finishes = alone.map(({ finish }) => finish)
    expect(new Set(finishes)).toEqual(new Set(['stop', 'length'])) // rows leave at different times
    for (const batch of [3, 8, undefined]) expectAlike(await answer({ ...options, batch }), alone)
  })

  it('reads what prompts share at their beginning once, in one call and of rows that have ended', async () => {
    const shared = Int32Array.from({ length: 100 }, (_, i) => (i * 7) % config.vocabularySize)
    const asked = prompts.map((prompt) => Int32Array.of(...shared, ...prompt))
    const read = async (batch: number) => {
      let tokens = 0
      const onPass = (pass: { read: number }) => {
        tokens += pass.read
      }
      const answers = await answer({ seed: 5, batch, maxTokens: 1, onPass }, asked)
      return { tokens, answers }
    }
    const own = prompts.reduce((sum, { length }) => sum + length, 0)
    const alone = await Promise.all(asked.map((one, i) => answer({ seed: 5, maxTokens: 1, streams: [i] }, [one])))
    for (const batch of [20, 3]) {
      const { tokens, answers } = await read(batch)
      expect(tokens).toBe(100 + own + 19 * 4) // three pages of 32 are shared, the 4 tokens after them are not
      expectAlike(
        answers,
        alone.map(([only], index) => ({ ...only!, index })),
      )
    }
  })

  it('answers prompts that are longer than one reading beside each other', async () => {
    const long = parseModelConfig({ ...rawConfig, max_position_embeddings: 4096 }, 'config.json')
    const model = new Decoder(long, initialParameters(long, 3))
    const own = model.computeWeights('float32')
    const asked = [0, 1, 2].map((start) => Int32Array.from({ length: 2100 }, (_, i) => (start * 11 + i * 7) % 50))
    const passes: { read: number; drawn: number }[] = []
    const onPass = (pass: { read: number; drawn: number }) => passes.push(pass)
    await answer({ maxTokens: 8, onPass }, asked, { decoder: model, weights: own })
    model.dispose()
    expect(passes.filter(({ read }) => read >= 2100)).toHaveLength(3) // one of them at a time is read
    expect(passes.some(({ drawn }) => drawn === 3)).toBe(true)
  })

  it('lets rows wait where the cache has no room for all, and answers the same', async () => {
    const options = { seed: 5, topP: 0.95, stop: [3] }
    const asked = [...prompts, Int32Array.from({ length: 70 }, (_, i) => i % 50)]
    const passes = async (cacheBytes?: number) => {
      let count = 0
      const answers = await answer({ ...options, cacheBytes, maxTokens: 90, onPass: () => void count++ }, asked)
      return { count, answers }
    }
    const roomy = await passes()
    const tight = await passes(10 * 32 * 2 * 2 * (8 + 16) * 4)
    expectAlike(tight.answers, roomy.answers)
    expect(tight.count).toBeGreaterThan(2 * roomy.count)
    expectAlike((await passes(1)).answers, roomy.answers) // room for one row at a time is always made
  })

  it('draws by seed and stream, so that a part of the prompts gets what it got among all', async () => {
    const all = await answer({ seed: 7 })
    const part = await answer({ seed: 7, streams: [4, 11] }, [prompts[4]!, prompts[11]!])
    expect(tokensOf(part)).toEqual([all[4]!, all[11]!].map(({ tokens }) => Array.from(tokens)))
  })

  it('ends a reply where the caller says so', async () => {
    const [whole] = await answer({ greedy: true }, [prompts[2]!])
    const ended = (reply: readonly number[]) => reply.length === 5
    const [short] = await answer({ greedy: true, ended }, [prompts[2]!])
    expect(short).toMatchObject({ tokens: whole!.tokens.slice(0, 5), finish: 'stop' })
  })

  it('does not repeat itself where repetition is made impossible', async () => {
    const [free] = tokensOf(await answer({ greedy: true, maxTokens: 30 }, [prompts[2]!]))
    expect(new Set(free).size).toBeLessThan(25)
    const [penalised] = tokensOf(await answer({ greedy: true, maxTokens: 30, repetitionPenalty: 1e6 }, [prompts[2]!]))
    expect(new Set([...penalised!, ...prompts[2]!]).size).toBe(30 + new Set(prompts[2]!).size)
  })

  it('tells the log-probability of each token, as a pass over the whole text gives it', async () => {
    const [{ tokens, logps }] = (await answer({ seed: 3, temperature: 1.3, topK: 20 }, [prompts[4]!])) as [Sample]
    const text = Int32Array.of(...prompts[4]!, ...tokens)
    const want = scope(() =>
      noGrad(() =>
        decoder
          .tokenLogps(weights, {
            tokens: text,
            positions: Int32Array.from(text.keys()),
            segments: [{ start: 0, length: text.length, parent: -1 }],
            targetPositions: Int32Array.from(tokens, (_, i) => prompts[4]!.length - 1 + i),
            targets: tokens,
            targetRow: new Int32Array(tokens.length),
          })
          .toArray(),
      ),
    )
    for (const [i, logp] of logps.entries()) expect(logp).toBeCloseTo(want[i]!, 4)
  })

  it('gives the same answers for the same seed, others for another', async () => {
    const first = tokensOf(await answer({ seed: 1 }))
    expect(tokensOf(await answer({ seed: 1 }))).toEqual(first)
    expect(tokensOf(await answer({ seed: 2 }))).not.toEqual(first)
  })

  it('answers the same prompt differently each time it is asked in one call', async () => {
    const [first, second] = tokensOf(await answer({}, [prompts[1]!, prompts[1]!]))
    expect(second).not.toEqual(first)
  })

  it('is greedy at a temperature near 0 and with a tiny nucleus', async () => {
    const greedy = tokensOf(await answer({ greedy: true }))
    expect(tokensOf(await answer({ temperature: 1e-6 }))).toEqual(greedy)
    expect(tokensOf(await answer({ topP: 1e-6 }))).toEqual(greedy)
  })

  it('ends a reply before a stop token, and says so', async () => {
    const long = await answer({ greedy: true })
    const stop = long[4]!.tokens[5]!
    for (const [i, { tokens, finish }] of (await answer({ greedy: true, stop: [stop] })).entries()) {
      const whole = Array.from(long[i]!.tokens)
      const end = whole.indexOf(stop)
      expect(finish).toBe(end < 0 ? 'length' : 'stop')
      expect(Array.from(tokens)).toEqual(end < 0 ? whole : whole.slice(0, end))
    }
  })

  it('refuses prompts that leave no room for the reply, before it answers any', async () => {
    const asked = [prompts[0]!, new Int32Array(240)]
    await expect(answer({ maxTokens: 17 }, asked)).rejects.toThrow(
      "prompt 1 has 240 tokens, which leaves 16 of the model's 256 for the reply, and the longest reply is 17",
    )
    await expect(answer({}, [new Int32Array(256)])).rejects.toThrow(
      'prompt 0 has 256 tokens, but the model sees 256 at most',
    )
    await expect(answer({}, [new Int32Array()])).rejects.toThrow('prompt 0 has no tokens')
    expect((await answer({ maxTokens: 16 }, asked))[1]!.tokens.length).toBe(16)
  })

  it('shortens such replies for a training run', async () => {
    const options = { maxTokens: 20, seed: 0, stop: [] }
    const [short, full] = await shortened(decoder, weights, [new Int32Array(240).fill(1), prompts[0]!], options)
    expect([short!.length, full!.length]).toEqual([16, 20])
  })

  it('answers no prompts', async () => {
    expect(await answer({}, [])).toEqual([])
  })

  it('leaves no tensors behind: at the end, abandoned, aborted', async () => {
    await answer()
    const before = liveTensors()
    await answer({ batch: 4 })
    expect(liveTensors()).toBe(before)

    for await (const _ of sample(decoder, weights, prompts, { maxTokens: 8, stop: [], batch: 4 })) break
    expect(liveTensors()).toBe(before)

    const stopped = new AbortController()
    setTimeout(() => stopped.abort(new Error('enough')), 5) // samples give way to timers
    const many = Array.from({ length: 200 }, () => prompts[3]!)
    await expect(answer({ maxTokens: 200, batch: 4, signal: stopped.signal }, many)).rejects.toThrow('enough')
    expect(liveTensors()).toBe(before)
  })
})
