// From the runs of one side of bench/kto to its figures.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * Medians over rounds. `stepSeconds`: the median step of each round, steps before `warmup` left out. Tokens per second of a step count the
 * data's own tokens; those of the epoch divide by all the time from the program's start to the end of its last step, so that the
 * reference's pass, loading and warm-up count.
 */
export function summary(runs, { warmup, usefulTokens, rows }) {
  const steps = runs.map(({ stepSeconds }) => median(stepSeconds.slice(warmup)))
  const stepSeconds = median(steps)
  const processorSeconds = median(runs.map((run) => median(run.processorSeconds.slice(warmup))))
  const epochSeconds = median(runs.map(({ ends }) => ends.at(-1)))
  return {
    stepSeconds,
    processorSeconds,
    spread: [Math.min(...steps), Math.max(...steps)],
    tokensPerSecond: usefulTokens / stepSeconds,
    epochTokensPerSecond: rows / epochSeconds,
    firstStep: median(runs.map(({ ends }) => ends[0])),
    peakBytes: median(runs.map(({ peakBytes }) => peakBytes)),
    losses: runs[0].steps.map(({ loss }) => loss),
    positions: runs[0].batches?.map(({ positions }) => positions),
  }
}

export function rateText({
  tokensPerSecond,
  stepSeconds,
  processorSeconds,
  spread,
  firstStep,
  epochTokensPerSecond,
  peakBytes,
  peakShare,
  gemmPeak,
}) {
  const [low, high] = spread.map((value) => value.toFixed(2))
  return (
    `${tokensPerSecond.toFixed(0).padStart(6)} tokens/s (step ${stepSeconds.toFixed(2)} s, ${low} to ${high}; processor ${processorSeconds.toFixed(1)} s), whole epoch ${epochTokensPerSecond.toFixed(0)} tokens/s, ` +
    `first step after ${firstStep.toFixed(1)} s, peak ${(peakBytes / 2 ** 30).toFixed(2)} GiB, ` +
    `${(100 * peakShare).toFixed(0)} % of ${(gemmPeak / 1e9).toFixed(0)} GFLOP/s`
  )
}
