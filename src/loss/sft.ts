import type { Objective } from './objective.ts'

/** Supervised fine-tuning: the negative log-likelihood of each completion token, averaged over the tokens of the global batch. */
export function sft(): Objective {
  return {
    name: 'sft',
    needs: { labels: false, reference: false, mismatched: false },
    averagedOver: 'tokens',
    losses: ({ policy }) => policy.neg(),
    rewards: () => null,
  }
}
