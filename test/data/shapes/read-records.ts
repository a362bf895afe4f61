import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ReadOptions, readFeedback } from '../../../src/data/read.ts'

/** Records as lines of a file, read: rows, facts of the file, and of each row what it says. */
export async function readRecords(records: readonly object[], options: Partial<ReadOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'prospect-shapes-'))
  try {
    const file = join(folder, 'rows.jsonl')
    writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''))
    const { rows, facts } = await readFeedback([file], { onBadRow: 'error', needLabels: true, ...options })
    return {
      rows,
      facts: facts.files[0]!,
      judged: rows.map(({ prompt, completion, label }) => [prompt, completion, label]),
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export const user = (content: string) => ({ role: 'user', content })
export const assistant = (content: string) => ({ role: 'assistant', content })
