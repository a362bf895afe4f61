import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** What an answer does instead of answering. */
export type Fault = 429 | 500 | 503 | 400 | 401 | 404 | 'hang' | 'cut' | 'reset' | 'garbage' | 'empty'

export interface Asked {
  path: string
  model: string
  messages: { role: string; content: string }[]
  prompt?: string
  body: Record<string, unknown>
}

/** A real HTTP server on this machine that speaks the OpenAI interface: `reply` says what it answers, `fault` what goes wrong before. */
export async function fakeEndpoint(
  reply: (asked: Asked, request: number) => string | Promise<string>,
  fault: (asked: Asked, request: number) => Fault | null = () => null,
) {
  const requests: Asked[] = []
  const server = createServer(async (incoming, response) => {
    let text = ''
    for await (const chunk of incoming) text += chunk
    const body = JSON.parse(text)
    const asked: Asked = { path: incoming.url!, model: body.model, messages: body.messages, prompt: body.prompt, body }
    const number = requests.push(asked) - 1
    const wrong = fault(asked, number)
    if (wrong !== null) return misbehave(response, wrong)
    const content = await reply(asked, number)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(answer(asked, content)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function answer({ path }: Asked, content: string): object {
  const choice = path.endsWith('/chat/completions') ? { message: { role: 'assistant', content } } : { text: content }
  const usage = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 }
  return { id: 'x', object: 'chat.completion', choices: [{ index: 0, finish_reason: 'stop', ...choice }], usage }
}

async function misbehave(response: ServerResponse, fault: Fault): Promise<void> {
  if (typeof fault === 'number') {
    response.statusCode = fault
    if (fault === 429) response.setHeader('retry-after', '0.01')
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ error: { message: `fault ${fault}` } }))
  } else if (fault === 'hang') {
    await wait(30_000, undefined, { ref: false })
    response.destroy()
  } else if (fault === 'cut') {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '5000' })
    response.write('{"choices":[{"mess')
    setTimeout(() => response.destroy(), 5)
  } else if (fault === 'reset') response.destroy()
  else {
    response.setHeader('content-type', 'application/json')
    response.end(fault === 'garbage' ? '<html>busy</html>' : '{}')
  }
}
