/** How the learning rate moves after its warm-up. */
export interface ScheduleOptions {
  type: 'linear' | 'constant' | 'cosine'
  /** Share of all steps where below 1, else a number of steps. */
  warmup: number
}

/** The factor on the learning rate for a step, counted from 0: rises linearly to 1, then stays, or falls to 0 at the end. */
export function scheduleFactor({ type, warmup }: ScheduleOptions, step: number, steps: number): number {
  const warmupSteps = warmup < 1 ? Math.ceil(warmup * steps) : warmup
  if (step < warmupSteps) return (step + 1) / (warmupSteps + 1)
  const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps)
  if (type === 'linear') return Math.max(0, 1 - progress)
  if (type === 'cosine') return 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)))
  return 1
}
