/** The candidate nearest to a mistyped word, or null where none is near: at most two edits in five letters. */
export function suggest(word: string, candidates: readonly string[]): string | null {
  const near = candidates
    .map((candidate) => ({ candidate, distance: editDistance(plain(word), plain(candidate)) }))
    .filter(({ candidate, distance }) => distance <= 0.4 * Math.max(word.length, candidate.length))
    .sort((a, b) => a.distance - b.distance)
  return near[0]?.candidate ?? null
}

/** desirable_weight, desirable-weight and desirableWeight are the same word. */
function plain(word: string): string {
  return word.toLowerCase().replace(/[_-]/g, '')
}

/** Levenshtein's distance, a row of the table at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + Number(a[i - 1] !== b[j - 1])
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, replaced))
    }
    row = next
  }
  return row[b.length]!
}
