import type { ResolvedTrainOptions } from './options.ts'
import type { Evaluation } from './run.ts'

export type EvaluationMetric = ResolvedTrainOptions['evaluation']['metric']

/** What tells a better evaluation from a worse one; null where the objective has no such number. */
const metrics = {
  loss: { of: ({ loss }: Evaluation) => loss, sign: -1 },
  accuracy: { of: ({ rewards }: Evaluation) => rewards?.accuracy ?? null, sign: 1 },
  margin: { of: ({ rewards }: Evaluation) => rewards?.margin ?? null, sign: 1 },
  'area-under-curve': { of: ({ areaUnderCurve }: Evaluation) => areaUnderCurve, sign: 1 },
} as const satisfies Record<EvaluationMetric, unknown>

/** Position of the first of the best evaluations; null where none has the metric. */
export function bestEvaluation(evaluations: readonly Evaluation[], metric: EvaluationMetric): number | null {
  const { of, sign } = metrics[metric]
  let best: { place: number; value: number } | null = null
  for (const [place, evaluation] of evaluations.entries()) {
    const value = of(evaluation)
    if (value !== null && Number.isFinite(value) && (best === null || sign * value > sign * best.value))
      best = { place, value }
  }
  return best?.place ?? null
}

/** Whether so many evaluations in a row, the last ones, were no better than the best before them. */
export function isStale(evaluations: readonly Evaluation[], metric: EvaluationMetric, patience: number): boolean {
  const best = bestEvaluation(evaluations, metric)
  return best !== null && evaluations.length - 1 - best >= patience
}
