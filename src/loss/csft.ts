import type { Objective } from './objective.ts'
import type { Settings } from './options.ts'

/**
 * CSFT, supervised fine-tuning conditioned on control tokens (arXiv 2302.08582; baseline of arXiv 2402.01306): the negative log-likelihood
 * of every completion, good or bad, given its prompt and a text that says which it is. Generation puts the good one after the prompt. The
 * control text is a condition, so it is not learnt itself.
 */
export function csft({ desirableControl, undesirableControl }: Settings): Objective {
  return {
    name: 'csft',
    needs: {
      labels: true,
      pairs: false,
      reference: false,
      mismatched: false,
      tokens: false,
      control: { desirable: desirableControl, undesirable: undesirableControl },
    },
    averagedOver: 'tokens',
    losses: ({ policy }) => policy.neg(),
    logRatios: () => null,
    rewardScale: 1,
  }
}
