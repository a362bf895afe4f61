import { expect, test } from 'vitest'
import { Endpoint } from '../../src/infer/endpoint.ts'
import { generate } from '../../src/infer/generate.ts'
import { generateOptions } from '../../src/infer/options.ts'
import { type Fault, fakeEndpoint } from '../fake-endpoint.ts'

const ask = (url: string, attempts = 8) =>
  new Endpoint({ url, model: 'm', attempts, longestWait: 0.2, timeoutSeconds: 0.3 }).chat(
    [{ role: 'user', content: 'hi' }],
    { maxTokens: 5 },
  )

test.each<Fault>([429, 500, 503, 'hang', 'cut', 'reset', 'garbage', 'empty'])('asks again after %s', async (fault) => {
  const server = await fakeEndpoint(
    () => 'hello',
    (_, request) => (request < 2 ? fault : null),
  )
  expect(await ask(server.url)).toMatchObject({ text: 'hello', inputTokens: 100, outputTokens: 10 })
  expect(server.requests.length).toBe(3)
  await server.close()
})

test.each<[Fault, RegExp]>([
  [400, /fault 400/],
  [401, /wants a key: put it in OPENAI_API_KEY/],
  [404, /knows no model m/],
])('gives up at once after %s', async (fault, message) => {
  const server = await fakeEndpoint(
    () => 'hello',
    () => fault,
  )
  await expect(ask(server.url)).rejects.toThrow(message)
  expect(server.requests.length).toBe(1)
  await server.close()
})

test('says so where an endpoint never answers', async () => {
  const server = await fakeEndpoint(
    () => '',
    () => 500,
  )
  await expect(ask(server.url, 3)).rejects.toThrow(/gave no answer in 3 tries: 500 fault 500/)
  await server.close()
})

async function completions(options: object, skip = 0): Promise<string[]> {
  const texts: string[] = []
  for await (const { completion } of generate(generateOptions.parse(options), { skip })) texts.push(completion)
  return texts
}

test('an endpoint answers in place of a model, in the order of the prompts', async () => {
  const server = await fakeEndpoint(async ({ messages, prompt }, request) => {
    await new Promise((resolve) => setTimeout(resolve, request % 3 === 0 ? 20 : 1))
    return `re: ${prompt ?? messages.at(-1)!.content}`
  })
  const prompt = Array.from({ length: 40 }, (_, i) => `p${i}`)
  const options = { model: 'theirs', sampler: server.url, prompt, maxTokens: 7, temperature: 0.5, stop: ['x'] }
  const expected = prompt.map((text) => `re: ${text}`)
  expect(await completions(options)).toEqual(expected)
  expect(await completions(options, 30)).toEqual(expected.slice(30))
  expect(await completions({ ...options, chat: false })).toEqual(expected)
  const first = server.requests[0]!
  expect(first.body).toMatchObject({ model: 'theirs', max_tokens: 7, temperature: 0.5, stop: ['x'] })
  expect(server.requests.map(({ path }) => path)).toContain('/v1/completions')
  await expect(completions({ ...options, topK: 5 })).rejects.toThrow('--top-k is not possible with --sampler')
  await expect(completions({ ...options, adapter: 'a' })).rejects.toThrow('--adapter is not possible with --sampler')
  await expect(completions({ ...options, loadIn: '4bit' })).rejects.toThrow('--load-in is not possible')
  await server.close()
})
