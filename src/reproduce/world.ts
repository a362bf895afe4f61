import type { Interval } from '../evaluate/interval.ts'
import type { Arm } from './experiments.ts'

/** On what an arm is measured: what all are compared on, or what learning rates are chosen by. */
export type Part = 'test' | 'validation'

/** What one arm with one seed came to. */
export interface Measured extends Interval {
  /** Of 0 to 1, the higher the better. */
  value: number
  /** Of each question, where the value is their mean. */
  points?: number[]
  /** Rows it was trained on; 0 for the start itself. */
  rows: number
}

/** Where models are trained, judged and measured: the demo's shop, or the user's files. */
export interface World {
  /** What is measured, as a column's title. */
  readonly measure: string
  /** What the figures can and cannot say. */
  readonly remark: string
  /** Names of the model's sizes, from small to large. */
  readonly sizes: readonly string[]
  /** Trains an arm and measures it, unless that was done before. */
  measured(arm: Arm, seed: number, part: Part): Promise<Measured>
}
