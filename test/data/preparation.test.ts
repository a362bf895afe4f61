import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { rowsOf } from '../../src/data/shapes.ts'
import { emptyTokenizeFacts, tokenizeRow, tokensOf } from '../../src/data/tokenize.ts'
import { loadTokenizer, type Tokenizer } from '../../src/data/tokenizer.ts'

const golden = (path: string) => fileURLToPath(new URL(`../golden/${path}`, import.meta.url))

interface Prepared {
  prompt: number[]
  completion: number[]
  label: boolean
}
const content = JSON.parse(gunzipSync(readFileSync(golden('preparation/expected.json.gz'))).toString()) as {
  texts: object[]
  chats: object[]
  pairs: object[]
  unended: object[]
  /** Rows over the limit: by the completion alone, by both, by the prompt alone. */
  long: object[]
  limit: number
  template: string
  expected: Record<
    string,
    Record<'texts' | 'chats' | 'pairs' | 'unended' | 'begun', Prepared[] | undefined> & {
      truncated: ({ ids: number[]; mask: number[] } | null)[]
    }
  >
}

/** Rows as we tokenise them, in the order in which TRL unpairs: all chosen ones first. */
function prepared(records: readonly object[], tokenizer: Tokenizer): Prepared[] {
  const rows = records.flatMap((record) => rowsOf(record, true))
  const ordered = rows.some(({ pair }) => pair !== undefined)
    ? [...rows.filter(({ label }) => label), ...rows.filter(({ label }) => !label)]
    : rows
  return ordered.map((row) => {
    const { prompt, completion } = tokensOf({ ...row, origin: { file: 'golden', line: 1 } }, tokenizer)
    return { prompt: Array.from(prompt), completion: Array.from(completion), label: row.label }
  })
}

/** What templates write after EOS, a line feed, is never generated: TRL trains on it, we do not. */
const withoutTail = ({ prompt, completion, label }: Prepared, { eosIds }: Tokenizer): Prepared => ({
  prompt,
  completion: completion.slice(0, completion.findLastIndex((id) => eosIds.includes(id)) + 1),
  label,
})

describe.each(Object.entries(content.expected))("%s: TRL's preparation", (folder, sets) => {
  const tokenizer = loadTokenizer(golden(`tokenizers/${folder}`))

  test('texts and pairs: the same ids', () => {
    const [got, want] = [prepared(content.texts, tokenizer), sets.texts!]
    for (const [i, row] of got.entries()) {
      // SentencePiece merges a prompt's last space into the reply: TRL then trains on a prompt that lost its end.
      const lost = row.prompt.length - want[i]!.prompt.length
      if (lost === 0) expect(row).toEqual(want[i])
      else expect([folder, i, row.prompt.slice(0, -lost)]).toEqual(['llama2', 0, want[i]!.prompt])
    }
    expect(prepared(content.pairs, tokenizer)).toEqual(sets.pairs)
  })

  test.runIf(sets.chats)('chats: the same ids, but for what follows EOS', () => {
    const got = prepared(content.chats, tokenizer)
    expect(got).toEqual(sets.chats!.map((row) => withoutTail(row, tokenizer)))
  })

  test.runIf(sets.begun)('a text that begins with BOS: TRL doubles it where the tokenizer adds one, we do not', () => {
    const bos = sets.begun![0]!.prompt[0]!
    const text = {
      prompt: `${tokenizer.decode([bos])}Begun:\n`,
      completion: `and ended.${tokenizer.decode([tokenizer.eos!])}`,
      label: true,
    }
    const doubled = sets.begun![0]!.prompt[1] === bos
    expect(doubled).toBe(tokenizer.bos !== null)
    const want = doubled ? { ...sets.begun![0]!, prompt: sets.begun![0]!.prompt.slice(1) } : sets.begun![0]!
    expect(prepared([text], tokenizer)).toEqual([want])
  })

  test('rows over the limit: a completion is cut at its end as TRL cuts it, a prompt loses its start before the completion loses everything', () => {
    const { limit, long } = content
    const rows = long.map((record) => ({ ...rowsOf(record, true)[0]!, origin: { file: 'golden', line: 1 } }))
    const cut = (i: number, maxPromptLength: number) => {
      const limits = { maxLength: limit, maxPromptLength, strict: false, onBadRow: 'error' } as const
      const { prompt, completion } = tokenizeRow(rows[i]!, tokenizer, limits, emptyTokenizeFacts())!
      const mask = [...Array.from(prompt, () => 0), ...Array.from(completion, () => 1)]
      return { ids: [...prompt, ...completion], mask }
    }
    const [byCompletion, byBoth, byPrompt] = sets.truncated
    expect(cut(0, 10)).toEqual(byCompletion)
    // Where the prompt may stay whole, so is the second; at 10 tokens it is cut, and more of the completion is left.
    expect(cut(1, limit)).toEqual(byBoth)
    expect(cut(1, 10).mask.filter((bit) => bit === 0)).toHaveLength(10)
    expect(byBoth!.mask.filter((bit) => bit === 0).length).toBeGreaterThan(10)
    // A prompt that fills the limit: TRL drops the row; here it keeps its end, its BOS, and the whole completion.
    expect(byPrompt).toBeNull()
    const whole = tokensOf(rows[2]!, tokenizer)
    const kept = cut(2, 16)
    expect(kept.ids.slice(16)).toEqual(Array.from(whole.completion))
    const begin = tokenizer.bos === null ? [] : [tokenizer.bos]
    expect(kept.ids.slice(0, 16)).toEqual([...begin, ...whole.prompt.slice(begin.length - 16)])
  })

  test('a template that ends turns without EOS: TRL trains no end, we append EOS', () => {
    const scratch = mkdtempSync(join(tmpdir(), 'prospect-template-'))
    writeFileSync(join(scratch, 'plain.jinja'), content.template)
    const plain = loadTokenizer(golden(`tokenizers/${folder}`), { chatTemplate: join(scratch, 'plain.jinja') })
    rmSync(scratch, { recursive: true })
    for (const [i, row] of prepared(content.unended, plain).entries()) {
      expect(sets.unended![i]!.completion).not.toContain(plain.eos)
      expect(row.completion.at(-1)).toBe(plain.eos)
    }
  })
})
