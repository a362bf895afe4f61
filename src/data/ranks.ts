import type { PlannedBatch } from './plan.ts'

/**
 * What one of `ranks` processes takes of a global batch: every rank makes the same plan from the same token cache, and cuts its own part out of
 * each step. The parts follow each other, differ by at most one unit (a row, or the two rows of a pair) and make up the batch; a rank looks
 * at the tokens of its rows and of their mismatched partners, and of no others. Throws RangeError for a rank that is none.
 */
export function shareOfRank(
  batch: PlannedBatch,
  rank: number,
  ranks: number,
  options: { pairs?: boolean } = {},
): PlannedBatch {
  if (!Number.isInteger(ranks) || ranks < 1 || !Number.isInteger(rank) || rank < 0 || rank >= ranks)
    throw new RangeError(`rank ${rank} of ${ranks}: ranks count from 0 to one less than their number`)
  const unit = options.pairs ? 2 : 1
  const units = batch.rows.length / unit
  const [start, end] = [rank, rank + 1].map((part) => Math.floor((units * part) / ranks) * unit) as [number, number]
  const rows = batch.rows.slice(start, end)
  const own = new Set(rows)
  return {
    epoch: batch.epoch,
    rows,
    partners: batch.partners.slice(start, end),
    mismatches: batch.mismatches.filter(({ row }) => own.has(row)),
  }
}
