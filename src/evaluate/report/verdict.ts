import type { DataFacts } from '../../train/prepare.ts'
import type { Evaluation } from '../../train/run.ts'
import { areaInterval } from '../curve.ts'
import type { Verdict } from '../win-rate.ts'
import type { WinRateReport } from '../winrate.ts'

export interface Finding {
  verdict: Verdict
  /** What was measured, in a sentence with its numbers. */
  because: string
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

/**
 * Whether the model does better, by the strongest evidence in the run directory: a judge's win rate, else how its implicit reward orders held-out rows
 * that people judged. A lower loss alone has no interval, so it is told and no verdict.
 */
export function finding(
  before: Evaluation | null,
  after: Evaluation | null,
  facts: DataFacts | null,
  judged: WinRateReport | null,
): Finding {
  if (judged) return byJudge(judged)
  if (!before || !after || !facts)
    return {
      verdict: 'no evidence',
      because:
        'No rows were held out, so nothing was measured. Run prospect evaluate winrate, or train with --eval-data or --eval-split.',
    }
  if (after.areaUnderCurve !== null) return byRewards(before, after, facts)
  const change = after.loss - before.loss
  const words = change < 0 ? 'fell' : 'rose'
  return {
    verdict: 'no evidence',
    because: `The loss on ${after.rows} held-out rows ${words} from ${before.loss.toPrecision(4)} to ${after.loss.toPrecision(4)}. That says that the model imitates such rows ${change < 0 ? 'better' : 'worse'}, not that people prefer its replies: prospect evaluate winrate measures that.`,
  }
}

function byJudge({ verdict, rate, wins, ties, losses, judge, signTest, baseline }: WinRateReport): Finding {
  return {
    verdict,
    because: `The judge ${judge} gave it ${percent(rate.value)} of the points against ${baseline} (95 % interval ${percent(rate.low)} to ${percent(rate.high)}): ${wins} wins, ${ties} ties, ${losses} losses; sign test p = ${signTest.toPrecision(2)}.`,
  }
}

/** Where rewards are ratios to the model that the run began with, they were all 0: half of the pairs. Others order rows from the start. */
function byRewards(
  { areaUnderCurve: start }: Evaluation,
  { areaUnderCurve: area }: Evaluation,
  { heldOut }: DataFacts,
): Finding {
  const { desirable, undesirable, prompts } = heldOut
  if (start !== 0.5) {
    return {
      verdict: 'no evidence',
      because: `Of ${desirable} thumbs-up and ${undesirable} thumbs-down rows held out, a thumbs-up one has the higher implicit reward in ${percent(area!)} of all pairs, and had in ${start === null ? 'an unknown share' : percent(start)} before the first step: this objective's reward is no ratio to the starting model, so where it stands says little of what was learnt. prospect evaluate winrate measures that.`,
    }
  }
  const { low, high } = areaInterval(area!, desirable, undesirable, prompts / (desirable + undesirable))
  const verdict = low > 0.5 ? 'better' : high < 0.5 ? 'worse' : 'no evidence'
  const meaning = {
    better: 'It learnt what these people like, beyond the rows it saw.',
    worse: 'It learnt the opposite of what these people like: look at the labels.',
    'no evidence':
      'That is no more than chance gives: more held-out rows, more data or a higher learning rate may help.',
  }[verdict]
  return {
    verdict,
    because: `Of ${desirable} thumbs-up and ${undesirable} thumbs-down rows held out, a thumbs-up one has the higher implicit reward in ${percent(area!)} of all pairs (95 % interval ${percent(low)} to ${percent(high)}; 50 % is chance, and where the model began). ${meaning}`,
  }
}
