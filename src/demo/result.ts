import type { Summary } from '../train/run.ts'

/** What the demo shows at its end. */
export interface DemoResult {
  /** The run directory. */
  directory: string
  summary: Summary
  replies: { prompt: string; before: string; after: string }[]
}
