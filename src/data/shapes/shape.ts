import type { Labels, Verdict } from '../labels.ts'
import type { FeedbackRow, Message } from '../types.ts'
import type { Judgements } from './judgements.ts'

/** A judged completion before it is known where it came from. */
export type Row = Omit<FeedbackRow, 'origin'>
export type Text = string | Message[]
export type Fields = Record<string, unknown>

/** What a record gave: rows, and why it gave none or fewer than it could. */
export interface Found {
  rows: Row[]
  leftOut?: string
}

/** Which of several ranked answers are used. */
export type RankedUse = 'best-worst' | 'halves' | 'pairs' | 'neighbours'

/** What the user said about how records are read, and what is shared by the records of a run. */
export interface ShapeContext {
  labels: Labels
  /** Whether a row must say thumbs up or down; where not, rows without a label are desirable. */
  needLabels: boolean
  /** Turns a score into a verdict; null where the user gave no threshold. */
  threshold: ((score: number) => Verdict) | null
  ranked: RankedUse
  /** Of several named scores of one reply, the one that judges. */
  scoreName?: string
  /** SHP: smallest ratio of scores, and most pairs of one prompt. */
  minScoreRatio: number
  maxPairsPerPrompt: number
  /** The column the split goes by. */
  groupColumn?: string
  /** What files of judgements said so far, for the records of the other files. */
  judgements: Judgements
  /** A number that no other comparison of the run has. */
  nextPair(): number
}

/** One kind of record. Detected by `matches`, in the order of the table of shapes, or forced by its name. */
export interface Shape {
  name: string
  /** For documentation: the fields that make the shape. */
  title: string
  matches(fields: Fields): boolean
  /** Makes a reader for one file; it may hold state from record to record. */
  reader(context: ShapeContext): ShapeReader
  /** The scores in a record, where the shape has any: for thresholds that are drawn from all of them. */
  scores?(fields: Fields): number[]
}

export interface ShapeReader {
  /** Throws an error that says what is wrong with the record. */
  read(fields: Fields): Found
  /** What was held back until the end of the file. */
  end?(): Found[]
}

/** A shape whose records stand for themselves. */
export function simpleShape(
  name: string,
  title: string,
  matches: (fields: Fields) => boolean,
  read: (fields: Fields, context: ShapeContext) => Found | Row[],
  scores?: (fields: Fields) => number[],
): Shape {
  const reader = (context: ShapeContext): ShapeReader => ({
    read(fields) {
      const found = read(fields, context)
      return Array.isArray(found) ? { rows: found } : found
    },
  })
  return { name, title, matches, reader, ...(scores && { scores }) }
}
