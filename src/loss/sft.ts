import type { Objective } from './objective.ts'

/** Supervised fine-tuning: the negative log-likelihood of each completion token, averaged over the tokens of the global batch. */
export function sft(): Objective {
  return {
    name: 'sft',
    needs: { labels: false, pairs: false, reference: false, mismatched: false, tokens: false },
    averagedOver: 'tokens',
    losses: ({ policy }) => policy.neg(),
    logRatios: () => null,
    rewardScale: 1,
  }
}
