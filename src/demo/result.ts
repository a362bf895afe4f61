import type { Proportion } from '../evaluate/interval.ts'

/** What the demo shows at its end. */
export interface DemoResult {
  /** Where everything it made lies: models, data, both runs. */
  directory: string
  /** The run directory of the alignment. */
  run: string
  /** Its report.html. */
  report: string
  /** The objective. */
  loss: string
  /** The aligned model. */
  model: string
  /** Feedback rows that the model was aligned with. */
  thumbs: { up: number; down: number }
  /** Share of replies to held-out prompts that earn a thumbs up. */
  before: Proportion
  after: Proportion
  replies: { prompt: string; before: string; after: string }[]
  seconds: number
}
