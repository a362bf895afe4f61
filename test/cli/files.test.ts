import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { main } from '../../src/cli/main.ts'
import { writeTinyModel } from '../tiny-model.ts'

let folder: string
const path = (name: string) => join(folder, name)
let runs = 0
/** What can be wrong with a file. */
const wrong = ['missing', 'a-folder', 'empty.jsonl', 'binary.jsonl']
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-files-'))
  writeTinyModel(path('model'))
  mkdirSync(path('a-folder'))
  writeFileSync(path('empty.jsonl'), '')
  writeFileSync(path('binary.jsonl'), Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x0a, 0x00, 0x9d, 0x22]))
  const rows = Array.from({ length: 8 }, (_, i) => ({ prompt: `q${i >> 1}`, completion: `a${i}`, label: i % 2 === 0 }))
  writeFileSync(path('rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  writeFileSync(path('replies.jsonl'), '{"prompt":"q","completion":"3"}\n')
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Runs a command; gives its exit code and what it printed on standard error. */
async function run(args: readonly string[]) {
  const printed: string[] = []
  const spies = [
    vi.spyOn(console, 'error').mockImplementation((...texts) => void printed.push(texts.join(' '))),
    vi.spyOn(console, 'log').mockImplementation(() => {}),
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => printed.push(String(text)) > 0),
  ]
  try {
    return { code: await main(args), text: printed.join('\n') }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

/** Commands that lack the file at their end, in words: names of files here stand for their paths. */
const commands = [
  'train --data rows.jsonl --output out --model',
  'train --model model --output out --data',
  'train --model model --data rows.jsonl --output out --reference',
  'train --model model --data rows.jsonl --output out --chat-template',
  'train --model model --data rows.jsonl --output out --base',
  'train --model model --data rows.jsonl --output out --eval-data',
  'train --config',
  'train --resume',
  'generate --prompt x --model',
  'generate --prompt x --model model --adapter',
  'generate --prompt x --model model --base',
  'generate --prompt x --model model --chat-template',
  'generate --model model --prompts',
  'evaluate winrate --judge exact --output out --baseline replies.jsonl --candidate',
  'evaluate winrate --judge exact --output out --candidate replies.jsonl --baseline',
  'evaluate winrate --judge exact --output out --candidate model --prompts',
  'evaluate winrate --judge exact --output out --candidate model --prompts replies.jsonl --adapter',
  'evaluate winrate --candidate replies.jsonl --baseline replies.jsonl --output out --judge',
  'evaluate winrate --candidate replies.jsonl --baseline replies.jsonl --output out --judge http://127.0.0.1:9/v1 --judge-prompt',
  'evaluate rewards --data rows.jsonl --output out --run',
  'evaluate rewards --data rows.jsonl --output out --reference model --model',
  'evaluate rewards --data rows.jsonl --output out --model model --reference',
  'evaluate rewards --data rows.jsonl --output out --model model --adapter',
  'evaluate rewards --model model --reference model --output out --data',
  'evaluate judgements --judgements',
  'reproduce noise --data rows.jsonl --output out --model',
  'reproduce noise --model model --output out --data',
  'reproduce noise --model model --data rows.jsonl --output out --training',
  'data inspect --data',
  'data preview --data rows.jsonl --model',
  'data convert --output out.jsonl --data',
  'export --output out --merge --model',
  'plot run --output out.svg',
  'report',
]

test.each(commands)('%s <a file that is not right>', async (command) => {
  for (const name of wrong) {
    const words = command.split(' ').map((word) => {
      if (word === 'out') return path(`out-${runs++}`)
      return existsSync(path(word)) || word.startsWith('out.') ? path(word) : word
    })
    if (name === 'empty.jsonl' && /--(config|training|chat-template)$/.test(command)) continue // no options; a template of nothing
    const { code, text } = await run([...words, path(name)])
    expect({ name, code, text }).toMatchObject({ code: 1, text: expect.stringContaining(name) })
    expect(text).not.toMatch(/\bE(NOENT|ISDIR|NOTDIR|EXIST|ACCES)\b|\n\s+at |undefined|TypeError|resume:/)
  }
})

test('a folder for results that is a file is named before any work, and a file of replies that is there stays until there are others', async () => {
  const judged = ['evaluate', 'winrate', '--judge', 'exact', '--candidate', path('replies.jsonl')]
  const { code, text } = await run([...judged, '--baseline', path('replies.jsonl'), '--output', path('rows.jsonl')])
  expect({ code, text }).toMatchObject({ code: 1, text: expect.stringContaining('rows.jsonl: a file; name a folder') })

  const replies = readFileSync(path('replies.jsonl'), 'utf8')
  const answer = ['generate', '--prompt', 'x', '--output', path('replies.jsonl')]
  expect(await run([...answer, '--model', path('missing')])).toMatchObject({ code: 1 })
  expect(readFileSync(path('replies.jsonl'), 'utf8')).toBe(replies)
  const resumed = await run([...answer, '--model', path('model'), '--resume'])
  expect(resumed).toMatchObject({ code: 1, text: expect.stringContaining('replies.jsonl:1 answers another prompt') })
  const intoFolder = await run([...answer.slice(0, 3), '--model', path('model'), '--output', path('a-folder')])
  expect(intoFolder).toMatchObject({ code: 1, text: expect.stringContaining('a-folder: a folder; name a file') })
})
