import { type DataError, type ReadOptions, readFeedback } from '../../src/data/read.ts'
import { withFuzzFile } from './fuzz.ts'

/**
 * Reads `count` random and mutated lines and throws where anything is lost: every record is used, left out or skipped; each unmutated one
 * gives exactly its labels; each problem names file and line. Gives how many of each there were.
 */
export async function checkFuzz(
  seed: number,
  count: number,
): Promise<{ records: number; used: number; leftOut: number; skipped: number }> {
  const totals = { records: 0, used: 0, leftOut: 0, skipped: 0 }
  await withFuzzFile(seed, count, async (file, lines) => {
    const { rows, facts } = await readDecided(file)
    const [{ records, used, leftOut, skipped, skippedBecause, desirable, undesirable }] = facts.files as [
      (typeof facts.files)[0],
    ]
    const blank = lines.filter(({ line }) => line.trim() === '').length
    const left = Object.values(leftOut).reduce((sum, number) => sum + number, 0)
    const wrong = (what: string) => new Error(`seed ${seed}: ${what}`)
    if (records + blank < lines.length) throw wrong(`${lines.length} lines, but ${records} records`)
    if (used + left + skipped !== records)
      throw wrong(`${records} records, but ${used} used, ${left} left out, ${skipped} skipped`)
    if (desirable + undesirable !== rows.length) throw wrong('rows and their labels differ in number')
    const nameless = skippedBecause.find((reason) => !/^.*rows\.jsonl:\d+: ./.test(reason))
    if (nameless !== undefined) throw wrong(`no file and line in ${nameless}`)
    const byLine = new Map<number, boolean[]>()
    for (const { origin, label } of rows) byLine.set(origin.line, [...(byLine.get(origin.line) ?? []), label])
    for (const [i, { line, labels }] of lines.entries()) {
      const got = byLine.get(i + 1) ?? []
      if (labels && got.join() !== labels.join())
        throw wrong(`line ${i + 1} gives ${got.join()}, not ${labels.join()}: ${line}`)
    }
    Object.assign(totals, { records, used, leftOut: left, skipped })
  })
  return totals
}

/**
 * A file that a mutation left with labels of both 0 and -1 is refused as a whole, naming the row; it is read once the user says what 0 means.
 */
async function readDecided(file: string) {
  const options: ReadOptions = { onBadRow: 'skip', needLabels: true }
  return readFeedback([file], options).catch((error: DataError) => {
    if (!/rows\.jsonl:\d+: .* is both 0 and -1 in this file: .*--labels/.test(error.message)) throw error
    return readFeedback([file], { ...options, labels: new Map([['0', false]]) })
  })
}
