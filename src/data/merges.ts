import type { BpeModel } from './word-encoder.ts'

/** Byte-pair encoding on ids. */
export interface MergeTable {
  /** The ids of a word's characters, merged; null where a character is not in the vocabulary. */
  idsOf(characters: string): number[] | null
}

/** The merges of a model by the ids of their two sides; null for models whose pieces are more than what merges make of characters. */
export function mergeTable({ config, tokens_to_ids: ids, ...model }: BpeModel): MergeTable | null {
  if (model.end_of_word_suffix || model.continuing_subword_suffix) return null
  const table = new Map<number, number>() // left * span + right: rank
  const products = new Int32Array(config.merges.length)
  const span = 2 ** 24
  for (const [rank, merge] of config.merges.entries()) {
    const [left, right] = Array.isArray(merge) ? merge : (merge.split(' ', 2) as [string, string])
    const [a, b, product] = [ids.get(left), ids.get(right), ids.get(left + right)]
    if (a === undefined || b === undefined || product === undefined) return null
    table.set(a * span + b, rank)
    products[rank] = product
  }
  return {
    idsOf(characters) {
      const pieces: number[] = []
      for (const character of characters) {
        const id = ids.get(character)
        if (id === undefined) return null
        pieces.push(id)
      }
      merge(pieces, (a, b) => table.get(a * span + b) ?? Number.POSITIVE_INFINITY, products)
      return pieces
    },
  }
}

/** Joins the pair of neighbours of the lowest rank, the first of equals, until none is left. */
function merge(pieces: number[], rankOf: (a: number, b: number) => number, products: Int32Array): void {
  const ranks: number[] = []
  for (let i = 0; i + 1 < pieces.length; i++) ranks.push(rankOf(pieces[i]!, pieces[i + 1]!))
  while (ranks.length > 0) {
    let best = 0
    for (let i = 1; i < ranks.length; i++) if (ranks[i]! < ranks[best]!) best = i
    const rank = ranks[best]!
    if (rank === Number.POSITIVE_INFINITY) return
    pieces[best] = products[rank]!
    pieces.splice(best + 1, 1)
    ranks.splice(best, 1)
    if (best > 0) ranks[best - 1] = rankOf(pieces[best - 1]!, pieces[best]!)
    if (best < ranks.length) ranks[best] = rankOf(pieces[best]!, pieces[best + 1]!)
  }
}
